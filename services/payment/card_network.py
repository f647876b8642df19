"""The card network as the card worker sees it: three questions over HTTP, each with an answer or none."""

import json
import time
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
from opentelemetry.trace import SpanKind, StatusCode

from chassis import telemetry
from chassis.source import code
from services.payment.settlement import Answer, Outcome

_DURATION = telemetry.meter.create_histogram(
    "shop.card_network.call.duration", unit="s", description="How long the card network took, by call and outcome."
)


class NoAnswer(Exception):
    """The network did not say what became of the charge: it may have been made, or not."""


class _Call(NamedTuple):
    """A question: the method below that asks it, and how it is asked."""

    name: str
    method: str
    route: str


_CHARGE = _Call("charge", "POST", "/charges")
_FIND = _Call("find", "GET", "/charges/{key}")
_VOID = _Call("void", "POST", "/charges/{key}/void")


class CardNetwork:
    """A client with a bounded pool; every call names the payment, so every call may be repeated.

    Args:
        timeout_seconds: the most that a call takes, the wait for a free connection included.
    """

    def __init__(self, url: str, *, timeout_seconds: float, connections_max: int) -> None:
        self._url = url.rstrip("/")
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        self._server = {"server.address": address.hostname or "", "server.port": port}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def charge(self, payment_id: UUID, amount_minor: int, currency_code: str, card_token: str) -> Answer:
        """Charge, unless that was done before.

        Raises:
            NoAnswer: as do the other calls.
        """
        body = {"amountMinor": amount_minor, "currencyCode": currency_code, "cardToken": card_token}
        return _answer(*await self._call(_CHARGE, payment_id, json=body))

    async def find(self, payment_id: UUID) -> Answer | None:
        """What became of the charge; None if the network has not heard of it."""
        status, body = await self._call(_FIND, payment_id)
        return None if status == HTTPStatus.NOT_FOUND else _answer(status, body)

    async def void(self, payment_id: UUID) -> Answer:
        """Give back what was taken, and make sure that nothing will be taken later."""
        return _answer(*await self._call(_VOID, payment_id))

    async def _call(self, call: _Call, payment_id: UUID, **content: Any) -> tuple[int, bytes]:
        began = time.perf_counter()
        outcome = "no answer"
        try:
            status, body = await self._ask(call, payment_id, **content)
            outcome = str(status)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = type(error).__name__
            raise NoAnswer(outcome) from error
        else:
            return status, body
        finally:
            _DURATION.record(time.perf_counter() - began, {"call": call.name, "outcome": outcome})

    async def _ask(self, call: _Call, payment_id: UUID, **content: Any) -> tuple[int, bytes]:
        url = self._url + call.route.format(key=payment_id)
        attributes = {
            "http.request.method": call.method,
            "url.full": url,
            "url.template": call.route,
            **self._server,
            **code(getattr(CardNetwork, call.name)),
        }
        with telemetry.span(f"{call.method} {call.route}", SpanKind.CLIENT, attributes) as span:
            headers = {"Idempotency-Key": str(payment_id), **telemetry.store(span)._asdict()}
            async with self._session.request(
                call.method, url, headers=headers, allow_redirects=False, **content
            ) as response:
                body = await response.read()
            span.set_attribute("http.response.status_code", response.status)
            # Not to know a charge is an answer.
            if response.status >= HTTPStatus.BAD_REQUEST and response.status != HTTPStatus.NOT_FOUND:
                span.set_attribute("error.type", str(response.status))
                span.set_status(StatusCode.ERROR)
            return response.status, body


def _answer(status: int, body: bytes) -> Answer:
    if status != HTTPStatus.OK:
        raise NoAnswer(f"HTTP {status}")
    try:
        said = json.loads(body)
        return Answer(Outcome(said["state"]), said["declineCode"] or None)
    except (ValueError, KeyError, TypeError) as error:
        raise NoAnswer(f"not an answer about a charge: {type(error).__name__}") from error
