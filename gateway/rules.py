"""Which RPCs the gateway offers over HTTP, and how: read from the `google.api.http` and `shop.rest.v1.rest` options.

service descriptors ─▶ Rule (verb, path template, body, RPC, REST option), checked against the request's fields
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from shop.rest.v1 import rest_pb2

from gateway.paths import AnnotationError, PathTemplate

_VERBS: Final = {"get": "GET", "put": "PUT", "post": "POST", "delete": "DELETE", "patch": "PATCH"}
# Verbs that `custom` may add: those that OpenAPI has a place for.
_CUSTOM_VERBS: Final = ("HEAD", "OPTIONS", "TRACE")
# 204 and 205 forbid the body that every answer has; the others speak of parts, proxies and WebDAV.
_SUCCESS_STATUSES: Final = (0, HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
# Well-known types that have no form of one piece of text.
_NOT_IN_A_QUERY: Final = frozenset(f"google.protobuf.{name}" for name in ("Any", "Empty", "ListValue", "Struct"))


@dataclass(frozen=True)
class Rule:
    """One way to reach one RPC over HTTP."""

    verb: str
    path: PathTemplate
    body: str
    response_body: str
    rpc: MethodDescriptor
    rest: rest_pb2.Rest

    @property
    def rpc_path(self) -> str:
        """The RPC's name on the wire."""
        return f"/{self.rpc.containing_service.full_name}/{self.rpc.name}"

    @cached_property
    def request_class(self) -> type[Message]:
        return GetMessageClass(self.rpc.input_type)

    @cached_property
    def response_class(self) -> type[Message]:
        return GetMessageClass(self.rpc.output_type)

    @property
    def success_status(self) -> int:
        return self.rest.success_status or 200

    @cached_property
    def query(self) -> dict[str, FieldDescriptor]:
        """The request fields that neither path nor body takes, by their dotted path: the query may set them."""
        if self.body == "*":
            return {}
        taken = {*self.path.variables, self.body}
        return {path: field for path, field in _leaves(self.rpc.input_type) if not taken & set(_prefixes(path))}


def rules(services: Iterable[ServiceDescriptor]) -> list[Rule]:
    """The rules of all annotated RPCs.

    Raises:
        AnnotationError: a rule names what the request does not have, or two rules are for the same call.
    """
    found = [rule for service in services for rpc in service.methods for rule in _rules(rpc)]
    seen: dict[tuple[str, bytes], Rule] = {}
    for rule in found:
        other = seen.setdefault((rule.verb, rule.path.pattern.pattern), rule)
        if other is not rule:
            raise AnnotationError(f"{rule.rpc.full_name} and {other.rpc.full_name}: both {rule.verb} {rule.path.text}")
    return found


def _rules(rpc: MethodDescriptor) -> Iterator[Rule]:
    options: Any = rpc.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    annotation = options.Extensions[annotations_pb2.http]
    rest = options.Extensions[rest_pb2.rest]
    for http in (annotation, *annotation.additional_bindings):
        try:
            yield _checked(_rule(rpc, http, rest))
        except AnnotationError as error:
            raise AnnotationError(f"{rpc.full_name}: {error}") from None


def _rule(rpc: MethodDescriptor, http: http_pb2.HttpRule, rest: rest_pb2.Rest) -> Rule:
    kind = http.WhichOneof("pattern")
    if kind == "custom":
        verb, path = http.custom.kind.upper(), http.custom.path
        if verb not in _CUSTOM_VERBS:
            raise AnnotationError(f"{verb} is no verb the gateway can serve")
    elif kind is not None:
        verb, path = _VERBS[kind], getattr(http, kind)
    else:
        raise AnnotationError("the rule has no path")
    return Rule(verb, PathTemplate.parse(path), http.body, http.response_body, rpc, rest)


def _checked(rule: Rule) -> Rule:
    """The rule, if all of it can be served: what would fail or be passed over at a call is refused here."""
    request = rule.rpc.input_type
    if rule.rpc.client_streaming:
        raise AnnotationError("the gateway has no route for a stream of requests")
    for path in rule.path.variables:
        field = field_at(request, path)
        if field.is_repeated or field.message_type is not None:
            raise AnnotationError(f"{path} cannot stand in a path")
    if rule.body not in ("", "*"):
        _own_field(request, rule.body)
    if (key := rule.rest.idempotency_key_field) and not _is_string(_own_field(request, key)):
        raise AnnotationError(f"{key} cannot take a key: it is not a string")
    if rule.rest.success_status not in _SUCCESS_STATUSES:
        raise AnnotationError(f"success_status is 200, 201 or 202, not {rule.rest.success_status}")
    if rule.rpc.server_streaming:
        _check_stream(rule)
    else:
        _check_answer(rule)
    return rule


def _check_stream(rule: Rule) -> None:
    """A stream's answer begins before any message is there to take a header or a field from."""
    for option, value in (
        ("response_body", rule.response_body),
        ("success_status", rule.success_status != HTTPStatus.OK),
        ("location", rule.rest.location),
        ("trace_id_field", rule.rest.trace_id_field),
    ):
        if value:
            raise AnnotationError(f"a stream of responses has no {option}")


def _check_answer(rule: Rule) -> None:
    response, rest = rule.rpc.output_type, rule.rest
    if rule.response_body:
        whole = _own_field(response, rule.response_body)
        if whole.is_repeated or whole.message_type is None:
            raise AnnotationError(f"{rule.response_body} cannot be the whole answer: it is not one message")
    location = PathTemplate.parse(rest.location or "/")
    if location.text != location.shown:
        raise AnnotationError(f"{rest.location}: a location has no patterns")
    for path in location.variables:
        field = field_at(response, path)
        if field.is_repeated or field.message_type is not None:
            raise AnnotationError(f"{path} cannot stand in a location")
    if rest.trace_id_field and not _is_string(field_at(response, rest.trace_id_field)):
        raise AnnotationError(f"{rest.trace_id_field} cannot hold a trace id: it is not a string")


def _is_string(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def _own_field(message_type: Descriptor, name: str) -> FieldDescriptor:
    """The message's own field, as opposed to one of a message within it."""
    if "." in name:
        raise AnnotationError(f"{name} is not a field of {message_type.full_name} itself")
    return field_at(message_type, name)


def field_at(message_type: Descriptor, path: str) -> FieldDescriptor:
    """The field at a dotted path.

    Raises:
        AnnotationError: there is none.
    """
    first, _, rest = path.partition(".")
    field = message_type.fields_by_name.get(first)
    if field is None:
        raise AnnotationError(f"{message_type.full_name} has no field {first}")
    if not rest:
        return field
    if field.message_type is None or field.is_repeated:
        raise AnnotationError(f"{field.full_name} has no fields")
    return field_at(field.message_type, rest)


def json_path(message_type: Descriptor, path: str) -> str:
    """A field's path in the names that JSON uses: `lines[0].unit_price` becomes `lines[0].unitPrice`.

    What names no field is passed on as it is.
    """
    shown: list[str] = []
    current: Any = message_type
    for part in re.findall(r"[^.\[]+(?:\[(?:\"(?:[^\"\\]|\\.)*\"|[^\]]*)\])*", path):
        name, bracket, subscript = part.partition("[")
        field = current.fields_by_name.get(name) if current is not None else None
        shown.append((field.json_name if field is not None else name) + bracket + subscript)
        current = field.message_type if field is not None else None
        if current is not None and current.GetOptions().map_entry:
            current = current.fields_by_name["value"].message_type
    return ".".join(shown)


def _leaves(
    message_type: Descriptor, prefix: str = "", above: tuple[str, ...] = ()
) -> Iterator[tuple[str, FieldDescriptor]]:
    """The fields a query can set: scalars, lists of scalars, and those of messages within."""
    for field in message_type.fields:
        inner = field.message_type
        if inner is not None and inner.full_name in _NOT_IN_A_QUERY:
            continue
        if inner is None or inner.full_name.startswith("google.protobuf."):
            yield prefix + field.name, field
        elif not field.is_repeated and inner.full_name not in above:
            yield from _leaves(inner, f"{prefix}{field.name}.", (*above, inner.full_name))


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[: end + 1]) for end in range(len(parts)))
