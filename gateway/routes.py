"""FastAPI routes from rules: an annotated RPC is served without a line of code here.

request ─▶ Resource (path) ─▶ endpoint (verb) ─▶ bind ─▶ gRPC ─▶ JSON, or a problem document
"""

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import grpc.aio
from google.protobuf.message import Message
from opentelemetry import trace
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis import telemetry
from gateway import codec
from gateway.binding import Binder, Bound
from gateway.exchange import ClientGone, Gate, Headers, read_body, send_json, send_problem
from gateway.problems import Header, Problem, refusal
from gateway.rules import Rule
from gateway.settings import GatewaySettings

ORDER_ID_FIELD: Final = "order_id"
# Where a route leaves the values of its path's variables, as they travelled, in the template's order.
PATH_VALUES: Final = "shop.path_values"

_PLACE: Final = re.compile(r"\{([a-z0-9_.]+)\}")


class Resource(BaseRoute):
    """Everything that is offered under one path; it matches whatever the verb, so that 405 can name the known ones."""

    def __init__(self, rules: list[Rule], endpoints: Mapping[str, ASGIApp]) -> None:
        # `path_format` is what FastAPI's telemetry takes as `http.route`.
        self.path = self.path_format = rules[0].path.shown
        self.pattern = rules[0].path.pattern
        self.has_verb = rules[0].path.has_verb
        self._endpoints = dict(endpoints)
        if "GET" in endpoints and not any(rule.rpc.server_streaming for rule in rules):
            self._endpoints.setdefault("HEAD", endpoints["GET"])
        self.allow = ", ".join(sorted(self._endpoints))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        found = self.pattern.fullmatch(scope["raw_path"]) if scope["type"] == "http" else None
        if found is None:
            return Match.NONE, {}
        # `/v1/orders/x:cancel` is for the verb alone: not for a GET of an order that happens to be called so.
        known = self.has_verb or scope["method"] in self._endpoints
        return Match.FULL if known else Match.PARTIAL, {PATH_VALUES: found.groups()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            await send_problem(send, method_not_allowed(scope["method"], self.path, self.allow))
        else:
            await endpoint(scope, receive, send)


def method_not_allowed(method: str, path: str, allow: str) -> Problem:
    """The problem of a verb that the path does not know."""
    return refusal(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        f"{path} takes {allow}, not {method}.",
        (b"allow", allow.encode()),
        code="UNIMPLEMENTED",
    )


def resources(rules: Iterable[Rule], endpoint: Callable[[Rule], ASGIApp]) -> list[Resource]:
    """One route for each path; a fixed segment wins over a variable, and a verb over a variable that ends like it."""
    by_path: dict[bytes, list[Rule]] = {}
    for rule in rules:
        by_path.setdefault(rule.path.pattern.pattern, []).append(rule)
    found = [Resource(same, {rule.verb: endpoint(rule) for rule in same}) for same in by_path.values()]
    return sorted(found, key=lambda resource: (resource.pattern.groups, not resource.has_verb))


class UnaryEndpoint:
    """Serves one unary RPC.

    Nothing here watches the connection: a client that hangs up does not stop what it asked for.
    """

    def __init__(self, rule: Rule, channel: grpc.aio.Channel, settings: GatewaySettings, gate: Gate) -> None:
        self._rule, self._settings, self._gate = rule, settings, gate
        self._binder = Binder(rule)
        self._call: Any = channel.unary_unary(
            rule.rpc_path,
            request_serializer=rule.request_class.SerializeToString,
            response_deserializer=rule.response_class.FromString,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._gate:
                await self._serve(scope, receive, send)
        except Problem as problem:
            await send_problem(send, problem)
        except ClientGone:
            return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        telemetry.leads_to(UnaryEndpoint.__call__)
        bound = await bind(self._rule, self._binder, self._settings, scope, receive)
        try:
            with telemetry.about_order(order_id_of(bound.message)):
                reply: Message = await self._call(bound.message, timeout=self._settings.call_deadline_seconds)
        except grpc.aio.AioRpcError as error:
            raise bound.problem(error) from None
        note_order(reply)
        body = codec.encode(getattr(reply, self._rule.response_body) if self._rule.response_body else reply)
        await send_json(send, self._rule.success_status, body, [*bound.headers, *self._headers(reply)])

    def _headers(self, reply: Message) -> list[Header]:
        found: list[Header] = []
        if location := self._rule.rest.location:
            filled = _PLACE.sub(lambda place: quote(str(_value_at(reply, place[1])), safe=""), location)
            found.append((b"location", filled.encode()))
        if (field := self._rule.rest.trace_id_field) and (trace_id := str(_value_at(reply, field))):
            url = self._settings.trace_url_template.replace("{trace_id}", quote(trace_id, safe=""))
            found.append((b"link", f'<{url}>; rel="trace"'.encode()))
        return found


async def bind(rule: Rule, binder: Binder, settings: GatewaySettings, scope: Scope, receive: Receive) -> Bound:
    """Read and bind a request; the server span learns the order's id.

    Raises:
        Problem: the request is refused.
        ClientGone: nobody waits for an answer any more.
    """
    headers = Headers(scope)
    body = await read_body(headers, receive, settings.body_bytes_max, settings.body_seconds_max) if rule.body else b""
    bound = binder.bind(headers, scope[PATH_VALUES], scope["query_string"], body)
    note_order(bound.message)
    return bound


def order_id_of(message: Message) -> str:
    """The order a message names, or nothing."""
    return getattr(message, ORDER_ID_FIELD, "")


def note_order(message: Message) -> None:
    """Let the server span carry the id of the order that the message names."""
    if order_id := order_id_of(message):
        trace.get_current_span().set_attribute(telemetry.ORDER_ID, order_id)


def _value_at(message: Any, path: str) -> Any:
    for name in path.split("."):
        message = getattr(message, name)
    return message
