"""The card network as the card worker sees it: three questions over HTTP, each with an answer or none."""

import json
import re
import time
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
from opentelemetry.trace import SpanKind, StatusCode

from chassis import telemetry
from chassis.source import code
from services.payment.verdict import Answer, NoAnswer, Outcome, Price, Unclear

BODY_BYTES_MAX = 64 * 1024
# What a bigint holds.
AMOUNT_MINOR_MAX = 2**63 - 1
DECLINE_CODE_LENGTH_MAX = 64
# With these a later try may go better; any other one that is not 200 is no answer about a charge.
_TRY_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

_DURATION = telemetry.meter.create_histogram(
    "shop.card_network.call.duration", unit="s", description="How long the card network took, by call and outcome."
)


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
            # What is read is bounded, and compressed it would grow beyond that.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def charge(self, payment_id: UUID, amount_minor: int, currency_code: str, card_token: str) -> Answer:
        """Charge, unless that was done before.

        Raises:
            NoAnswer: as do the other calls; Unclear, if what came is no answer about this charge.
        """
        body = {"amountMinor": amount_minor, "currencyCode": currency_code, "cardToken": card_token}
        return _answer(payment_id, *await self._call(_CHARGE, payment_id, json=body))

    async def find(self, payment_id: UUID) -> Answer | None:
        """What became of the charge; None if the network has not heard of it."""
        status, body = await self._call(_FIND, payment_id)
        return None if status == HTTPStatus.NOT_FOUND else _answer(payment_id, status, body)

    async def void(self, payment_id: UUID) -> Answer:
        """Give back what was taken, and make sure that nothing will be taken later."""
        return _answer(payment_id, *await self._call(_VOID, payment_id))

    async def _call(self, call: _Call, payment_id: UUID, **content: Any) -> tuple[int, bytes]:
        began = time.perf_counter()
        outcome = "no answer"
        try:
            status, body = await self._ask(call, payment_id, **content)
            outcome = str(status)
        except Unclear:
            outcome = "unclear"
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
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
                body = await _body(response)
            span.set_attribute("http.response.status_code", response.status)
            # Not to know a charge is an answer.
            if response.status >= HTTPStatus.BAD_REQUEST and response.status != HTTPStatus.NOT_FOUND:
                span.set_attribute("error.type", str(response.status))
                span.set_status(StatusCode.ERROR)
            return response.status, body


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """What came, up to the bound; a connection with more on its way is not used again."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        response.close()
        raise Unclear("an encoding that was not asked for")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            response.close()
            raise Unclear(f"more than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _answer(payment_id: UUID, status: int, body: bytes) -> Answer:
    """The answer about that payment, each of its fields looked at.

    Raises:
        NoAnswer: the status says that there is none.
        Unclear: it is none, or one about something else.
    """
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRY_LATER:
        raise NoAnswer(f"HTTP {status}")
    if status != HTTPStatus.OK:
        raise Unclear(f"HTTP {status}")
    match _json(body):
        case {
            "key": str(key),
            "state": str(state),
            "amountMinor": int(amount_minor),
            "currencyCode": str(currency_code),
            "declineCode": (str() | None) as decline_code,
        }:
            pass
        case _:
            raise Unclear("a field is missing, or of another type")
    if key != str(payment_id):
        raise Unclear("about another charge")
    if state not in Outcome.__members__:
        raise Unclear("an unknown state")
    _check_price(state, amount_minor, currency_code)
    if decline_code and (len(decline_code) > DECLINE_CODE_LENGTH_MAX or not decline_code.isprintable()):
        raise Unclear("a decline code that is none")
    return Answer(Outcome(state), Price(amount_minor, currency_code), decline_code or "")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unclear(f"no JSON: {type(error).__name__}") from error


def _check_price(state: str, amount_minor: int, currency_code: str) -> None:
    if isinstance(amount_minor, bool) or not 0 <= amount_minor <= AMOUNT_MINOR_MAX:
        raise Unclear("an amount that is none")
    # What was never asked for has no currency.
    if not re.fullmatch("[A-Z]{3}", currency_code) and (currency_code or state != Outcome.VOIDED):
        raise Unclear("a currency that is none")
