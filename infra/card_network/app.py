"""The network's HTTP interface, and what its difficult cards do to it.

POST /charges   GET /charges?page_size=&page_token=   GET /charges/{key}   POST /charges/{key}/void   GET /healthz
"""

import asyncio
import time
from collections import Counter
from http import HTTPStatus
from typing import Any

from opentelemetry.trace import INVALID_SPAN

from infra.card_network.exchange import BadRequest, Exchange, HungUp, Receive, Scope, Send
from infra.card_network.ledger import Charge, KeyReused, Ledger, Purchase

FLAKY_FAILURES = 2
PAGE_SIZE_MAX = 1000
# What the ledger's file takes.
AMOUNT_MINOR_MAX = 2**63 - 1

Answer = tuple[HTTPStatus, object]


class CardNetwork:
    """An ASGI application that answers for one ledger.

    Args:
        silence_seconds: how long nothing is said about a charge of `tok_silent`.
        slow_seconds: how long a charge of `tok_slow` takes.
    """

    def __init__(self, ledger: Ledger, *, silence_seconds: float, slow_seconds: float) -> None:
        self._ledger, self._silence_seconds, self._slow_seconds = ledger, silence_seconds, slow_seconds
        self._failures: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        if scope["path"] == "/healthz":
            # Asked all the time: no span.
            await exchange.answer(INVALID_SPAN, HTTPStatus.OK, {"status": "ok"})
            return
        route, handle, *arguments = self._route(scope["method"], scope["path"], exchange)
        with exchange.span(route, handle) as span:
            try:
                status, body = await handle(*arguments)
            except BadRequest as error:
                status, body = error.status, {"detail": error.detail}
            except HungUp:
                span.set_attribute("error.type", "hung_up")
                return
            await exchange.answer(span, status, body)

    def _route(self, method: str, path: str, exchange: Exchange) -> tuple[Any, ...]:
        """The route, its handler, and what the handler takes."""
        match method, path.split("/")[1:]:
            case "POST", ["charges"]:
                return "/charges", self._charge, exchange
            case "GET", ["charges"]:
                return "/charges", self._list, exchange
            case "GET", ["charges", key]:
                return "/charges/{key}", self._find, key, exchange
            case "POST", ["charges", key, "void"]:
                return "/charges/{key}/void", self._void, key, exchange
            case _:
                return "/", _nowhere

    async def _charge(self, exchange: Exchange) -> Answer:
        """Charges once for each key; answers with the charge, whatever has become of it by then."""
        key = exchange.header("idempotency-key")
        purchase = _purchase(await exchange.body())
        if not key:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "the header Idempotency-Key is missing")
        if self._ledger.find(key) is None:
            await self._hesitate(key, purchase)
        try:
            charge = self._ledger.charge(key, purchase)
        except KeyReused as error:
            raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        self._failures.pop(key, None)
        if purchase.card_token == "tok_lost_answer":  # noqa: S105 - a card, not a password
            exchange.abort()
            await exchange.hung_up()
        await self._silence(charge, exchange)
        return HTTPStatus.OK, _json(charge)

    async def _list(self, exchange: Exchange) -> Answer:
        """A page of everything, and what was taken and given back by currency: for those who compare the books."""
        token = exchange.query("page_token") or "0"
        size = exchange.query("page_size") or str(PAGE_SIZE_MAX)
        if not _is_number(token) or not _is_number(size) or not 0 < int(size) <= PAGE_SIZE_MAX:
            raise BadRequest(HTTPStatus.BAD_REQUEST, f"page_token is a page's, page_size at most {PAGE_SIZE_MAX}")
        page, totals = self._ledger.page(int(token), int(size)), self._ledger.totals()
        return HTTPStatus.OK, {
            "takenMinor": {currency: taken for currency, (taken, _) in totals.items()},
            "givenBackMinor": {currency: given for currency, (_, given) in totals.items() if given},
            "charges": [_json(charge) for charge in page.charges],
            "nextPageToken": str(page.next_number or ""),
        }

    async def _find(self, key: str, exchange: Exchange) -> Answer:
        charge = self._ledger.find(key)
        if charge is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, "no charge has that key")
        await self._silence(charge, exchange)
        return HTTPStatus.OK, _json(self._ledger.find(key) or charge)

    async def _void(self, key: str, exchange: Exchange) -> Answer:
        charge = self._ledger.find(key)
        if charge is not None:
            await self._silence(charge, exchange)
        return HTTPStatus.OK, _json(self._ledger.void(key))

    async def _hesitate(self, key: str, purchase: Purchase) -> None:
        """What the slow and the flaky card do before they charge."""
        match purchase.card_token:
            case "tok_slow":
                await asyncio.sleep(self._slow_seconds)
            case "tok_flaky" if self._failures[key] < FLAKY_FAILURES:
                self._failures[key] += 1
                raise BadRequest(HTTPStatus.SERVICE_UNAVAILABLE, "try again")
            case _:
                pass

    async def _silence(self, charge: Charge, exchange: Exchange) -> None:
        """Says nothing about a silent card's charge: waits for the caller to hang up, or for the silence to end."""
        if charge.purchase.card_token != "tok_silent":  # noqa: S105 - a card, not a password
            return
        ends_in = charge.at + self._silence_seconds - time.time()
        if ends_in > 0:
            try:
                async with asyncio.timeout(ends_in):
                    await exchange.hung_up()
            except TimeoutError:
                pass


def _is_number(text: str) -> bool:
    # What SQLite takes for a row's number.
    return text.isascii() and text.isdigit() and len(text) <= 18


async def _nowhere() -> Answer:
    raise BadRequest(HTTPStatus.NOT_FOUND, "there is nothing here")


def _purchase(body: Any) -> Purchase:
    match body:
        case {"amountMinor": int(amount_minor), "currencyCode": str(currency_code), "cardToken": str(card_token)}:
            number = not isinstance(amount_minor, bool) and 0 <= amount_minor <= AMOUNT_MINOR_MAX
            if number and currency_code.isprintable() and card_token.isprintable():
                return Purchase(amount_minor, currency_code, card_token)
        case _:
            pass
    raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "amountMinor, currencyCode and cardToken are needed")


def _json(charge: Charge) -> dict[str, Any]:
    # The card token is nobody's business any more.
    return {
        "key": charge.key,
        "state": charge.state,
        "amountMinor": charge.purchase.amount_minor,
        "currencyCode": charge.purchase.currency_code,
        "declineCode": charge.decline_code,
    }
