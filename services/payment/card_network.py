"""The card network as the card worker sees it: three questions over HTTP, each with an answer or none."""

import time
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.metrics import NoOpMeterProvider

from chassis import telemetry
from services.payment.settlement import Answer, Outcome

_DURATION = telemetry.meter.create_histogram(
    "shop.card_network.call.duration", unit="s", description="How long the card network took, by call and outcome."
)


class NoAnswer(Exception):
    """The network did not say what became of the charge: it may have been made, or not."""


class CardNetwork:
    """A client with a bounded pool; every call names the payment, so every call may be repeated.

    Args:
        timeout_seconds: the most that a call waits for a connection, and again for the answer.
    """

    def __init__(self, url: str, *, timeout_seconds: float, connections_max: int) -> None:
        limits = httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max)
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=timeout_seconds,
            # Our own histogram names the call; the instrumentation's would only say POST.
            transport=AsyncOpenTelemetryTransport(
                httpx.AsyncHTTPTransport(limits=limits, trust_env=False), meter_provider=NoOpMeterProvider()
            ),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def charge(self, payment_id: UUID, amount_minor: int, currency_code: str, card_token: str) -> Answer:
        """Charge, unless that was done before.

        Raises:
            NoAnswer: as do the other calls.
        """
        body = {"amountMinor": amount_minor, "currencyCode": currency_code, "cardToken": card_token}
        response = await self._call(
            "charge", "POST", "/charges", json=body, headers={"Idempotency-Key": str(payment_id)}
        )
        return _answer(response)

    async def find(self, payment_id: UUID) -> Answer | None:
        """What became of the charge; None if the network has not heard of it."""
        response = await self._call("find", "GET", f"/charges/{payment_id}")
        return None if response.status_code == HTTPStatus.NOT_FOUND else _answer(response)

    async def void(self, payment_id: UUID) -> Answer:
        """Give back what was taken, and make sure that nothing will be taken later."""
        return _answer(await self._call("void", "POST", f"/charges/{payment_id}/void"))

    async def _call(self, call: str, method: str, path: str, **content: Any) -> httpx.Response:
        began = time.perf_counter()
        outcome = "no answer"
        try:
            response = await self._client.request(method, path, **content)
            outcome = str(response.status_code)
        except httpx.RequestError as error:
            outcome = type(error).__name__
            raise NoAnswer(outcome) from error
        else:
            return response
        finally:
            _DURATION.record(time.perf_counter() - began, {"call": call, "outcome": outcome})


def _answer(response: httpx.Response) -> Answer:
    if response.status_code != HTTPStatus.OK:
        raise NoAnswer(f"HTTP {response.status_code}")
    try:
        said = response.json()
        return Answer(Outcome(said["state"]), said["declineCode"] or None)
    except (ValueError, KeyError, TypeError) as error:
        raise NoAnswer(f"not an answer about a charge: {type(error).__name__}") from error
