"""From an HTTP request to an RPC's request message: path, query, body, and the headers that stand for fields.

Everything wrong is collected first, so that one answer names all of it.
"""

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import grpc.aio
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from uuid_utils.compat import uuid7

from gateway import codec, problems
from gateway.exchange import Headers, require_json
from gateway.paths import unescaped
from gateway.problems import Header, Problem, Violation, refusal
from gateway.rules import Rule, field_at, json_path
from gateway.scalars import Wrong, reading

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
LAST_EVENT_ID: Final = "Last-Event-ID"
# A stream whose messages carry the one resumes behind it by the other.
POSITION_FIELD: Final = "position"
AFTER_POSITION_FIELD: Final = "after_position"

_KEY: Final = re.compile(r"[!-~]{1,128}")
_KEY_MUST_BE: Final = "must be 1 to 128 printable ASCII characters without spaces"
_QUERY_PARAMETERS_MAX: Final = 100


@dataclass(slots=True)
class Bound:
    """A request message, the headers that every answer to it carries, and what its fields are called over HTTP."""

    message: Any
    headers: list[Header] = field(default_factory=list[Header])
    header_names: dict[str, str] = field(default_factory=dict[str, str])

    def problem(self, error: grpc.aio.AioRpcError) -> Problem:
        """The answer when the RPC failed, in the caller's words."""
        problem = problems.of_rpc_error(error, self._caller_name)
        problem.headers += tuple(self.headers)
        return problem

    def _caller_name(self, path: str) -> str:
        return self.header_names.get(path) or json_path(self.message.DESCRIPTOR, path)


class Binder:
    """Binds the requests of one rule; compiled from it once."""

    def __init__(self, rule: Rule) -> None:
        request = rule.rpc.input_type
        self._rule = rule
        self._path = [
            (_UrlField(field_at(request, path), path, json_path(request, path)), path in rule.path.spanning)
            for path in rule.path.variables
        ]
        self._query: dict[str, _UrlField] = {}
        for path, leaf in rule.query.items():
            shown = json_path(request, path)
            self._query[path] = self._query[shown] = _UrlField(leaf, path, shown)
        if rule.body == "*":
            self._read_body = codec.reader(request)
        elif rule.body:
            self._read_body = codec.field_reader(field_at(request, rule.body))
        self._body_path = "" if rule.body == "*" else json_path(request, rule.body)
        self._resumes = rule.rpc.server_streaming and AFTER_POSITION_FIELD in request.fields_by_name

    def bind(self, headers: Headers, path_values: tuple[bytes, ...], query: bytes, body: bytes) -> Bound:
        """The request message.

        Raises:
            Problem: 400 for whatever is wrong with the request, 415 for a body that is not JSON.
        """
        bound = Bound(self._rule.request_class())
        found: list[Violation] = []
        if body and self._rule.body:
            require_json(headers)
            self._read_body(_parsed(body), bound.message, self._body_path, found)
        self._bind_path(path_values, bound.message, found)
        if query:
            self._bind_query(query, bound.message, found)
        if self._rule.rest.idempotency_key_field:
            self._bind_key(headers, bound, found)
        if self._resumes:
            _bind_last_event_id(headers, bound, found)
        if found:
            problem = problems.invalid(found)
            problem.headers = tuple(bound.headers)
            raise problem
        return bound

    def _bind_path(self, values: tuple[bytes, ...], message: Message, found: list[Violation]) -> None:
        for (url_field, spans_segments), raw in zip(self._path, values, strict=True):
            try:
                text = unescaped(raw, spans_segments=spans_segments)
            except ValueError:
                found.append(Violation(url_field.shown, "must be percent-encoded UTF-8", "path.malformed"))
            else:
                url_field.read_once(text, message, found)

    def _bind_query(self, query: bytes, message: Message, found: list[Violation]) -> None:
        try:
            pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=_QUERY_PARAMETERS_MAX,
                errors="strict",
            )
        except ValueError:
            must_be = f"must be percent-encoded UTF-8 with at most {_QUERY_PARAMETERS_MAX} parameters"
            found.append(Violation("", f"the query {must_be}", "query.malformed"))
            return
        seen: set[str] = set()
        for name, value in pairs:
            url_field = self._query.get(name)
            if url_field is None:
                method = f"{self._rule.verb} {self._rule.path.shown}"
                found.append(Violation(name, f"is not a parameter of {method}", "query.unknown_parameter"))
            elif url_field.shown in seen and not url_field.is_repeated:
                found.append(Violation(url_field.shown, "is given twice", "query.duplicate"))
            else:
                seen.add(url_field.shown)
                url_field.read(value, message, found)

    def _bind_key(self, headers: Headers, bound: Bound, found: list[Violation]) -> None:
        name = self._rule.rest.idempotency_key_field
        in_body: str = getattr(bound.message, name)
        in_header = headers.get(b"idempotency-key")
        shown = json_path(bound.message.DESCRIPTOR, name)
        key = in_body if in_header is None else in_header.decode("latin-1")
        if in_header is not None or not in_body:
            bound.header_names[name] = shown = IDEMPOTENCY_KEY
        if in_header is None and not in_body:
            key = str(uuid7())
        if b"idempotency-key" in headers.repeated:
            found.append(Violation(IDEMPOTENCY_KEY, "is given twice", "header.duplicate"))
        elif not _KEY.fullmatch(key):
            found.append(Violation(shown, _KEY_MUST_BE, "header.idempotency_key"))
        elif in_body and key != in_body:
            must_be = f"must be the same as {json_path(bound.message.DESCRIPTOR, name)} in the body, or stand alone"
            found.append(Violation(IDEMPOTENCY_KEY, must_be, "header.idempotency_key_differs"))
        else:
            setattr(bound.message, name, key)
            # Whoever let us make the key needs it to repeat the request, most of all after a failure.
            bound.headers.append((IDEMPOTENCY_KEY.lower().encode(), key.encode()))


def _bind_last_event_id(headers: Headers, bound: Bound, found: list[Violation]) -> None:
    value = headers.get(b"last-event-id")
    if value is None:
        return
    # A browser that reconnects repeats the query it began with; the header knows better.
    bound.header_names[AFTER_POSITION_FIELD] = LAST_EVENT_ID
    after = bound.message.DESCRIPTOR.fields_by_name[AFTER_POSITION_FIELD]
    _UrlField(after, AFTER_POSITION_FIELD, LAST_EVENT_ID).read(value.decode("latin-1"), bound.message, found)


def _parsed(body: bytes) -> Any:
    try:
        return codec.parse(body)
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    except codec.Duplicate as duplicate:
        raise problems.invalid([Violation(str(duplicate), "is given twice", "json.duplicate")]) from None
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except ValueError:
        # NaN, Infinity, or a number too long to read.
        raise _malformed("a number cannot be read") from None


def _malformed(why: str) -> Problem:
    return refusal(HTTPStatus.BAD_REQUEST, "MALFORMED_JSON", f"The body is not JSON: {why}.")


class _UrlField:
    """One request field that a path segment, a query parameter or a header may set."""

    def __init__(self, leaf: FieldDescriptor, path: str, shown: str) -> None:
        *self._parents, self._name = path.split(".")
        self.shown, self.is_repeated = shown, leaf.is_repeated
        self._read_part = codec.reader(leaf.message_type, in_url=True) if leaf.message_type is not None else None
        self._convert = reading(leaf, in_url=True) if leaf.message_type is None else None

    def read(self, text: str, message: Any, found: list[Violation]) -> None:
        """Set the field, or append to it."""
        for parent in self._parents:
            message = getattr(message, parent)
        if self._convert is None:
            part = getattr(message, self._name)
            part = part.add() if self.is_repeated else part
            if self._read_part is not None:
                self._read_part(text, part, self.shown, found)
            return
        try:
            value = self._convert(text)
        except Wrong as wrong:
            found.append(Violation(self.shown, wrong.must_be, wrong.rule))
            return
        if self.is_repeated:
            getattr(message, self._name).append(value)
        else:
            setattr(message, self._name, value)

    def read_once(self, text: str, message: Any, found: list[Violation]) -> None:
        """Set the field from the path; a body that says otherwise is wrong."""
        holder = message
        for parent in self._parents:
            holder = getattr(holder, parent)
        before = getattr(holder, self._name)
        self.read(text, message, found)
        if before and before != getattr(holder, self._name):
            found.append(Violation(self.shown, "must be the same as in the path", "path.differs"))
