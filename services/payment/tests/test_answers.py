"""Every cell of our state × wish × the network's answer, with a real HTTP server that gives the answer."""

import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest
from aiohttp import web
from shop.payment.v1.payment_events_pb2 import PaymentRefunded

from chassis.database import Database
from services.payment import settlement
from services.payment.card_network import CardNetwork
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.liar import Liar, Says, about, hang_up, status
from services.payment.verdict import Answer, Outcome, Price, Question

CHARGED, DECLINED, REFUNDED, VOIDED = about("CHARGED"), about("DECLINED"), about("REFUNDED"), about("VOIDED")
UNCLEAR: dict[str, Says] = {
    "not found": status(404),
    "no content": status(204),
    "unprocessable": status(422, b'{"detail":"the key is used"}'),
    "elsewhere": status(302, Location="http://127.0.0.1:1/"),
    "a page": status(200, b"<html>all is well</html>"),
    "nothing": status(200),
    "no text": status(200, b"\xff\xfe\x00"),
    "a list": status(200, b"[]"),
    "brackets": status(200, b"[" * 60_000),
    "too long": status(200, b" " * 70_000 + b"{}"),
    "compressed": status(200, b"\x1f\x8b", **{"Content-Encoding": "gzip"}),
    "another key": about("CHARGED", key="of-somebody-else"),
    "a key of another type": about("CHARGED", key=1),
    "an unknown state": about("PENDING"),
    "a state of another type": about(["CHARGED"]),
    "an amount as text": about("CHARGED", "1250"),
    "an amount with a point": about("CHARGED", 1250.0),
    "an amount of true": about("CHARGED", True),
    "a negative amount": about("CHARGED", -1250),
    "an amount too large": about("CHARGED", 2**63),
    "no amount": about("CHARGED", None),
    "no currency": about("CHARGED", currency_code=""),
    "a currency of another type": about("CHARGED", currency_code={}),
    "a currency in small letters": about("CHARGED", currency_code="eur"),
    "a decline code that is an object": about("DECLINED", declineCode={"code": "x"}),
    "a decline code with a NUL": about("DECLINED", declineCode="x\x00"),
    "half a character": about("DECLINED", declineCode="\ud800"),
    "an endless decline code": about("DECLINED", declineCode="x" * 10_000),
}
NO_ANSWER: dict[str, Says] = {"broken": status(503), "busy": status(429), "hung up": hang_up}

BOOKED = [("charge", "card_network", PRICE), ("charge", "customer_payments", -PRICE)]
GIVEN_BACK = [("refund", "card_network", -PRICE), ("refund", "customer_payments", PRICE)]
CORRECTED = [("correction", "card_network", -PRICE), ("correction", "customer_payments", PRICE)]
A_CENT = [
    ("charge", "card_network", 1),
    ("charge", "customer_payments", -1),
    ("refund", "card_network", -1),
    ("refund", "customer_payments", 1),
]


class Left(NamedTuple):
    """What is left of a payment: its state, whether it is open and unclear, what was told and booked."""

    state: str
    told: tuple[str, ...] = ()
    entries: list[tuple[str, str, int]] = []  # noqa: RUF012 - compared, never changed
    open: bool = False
    unclear: bool = False


OPEN = Left("CHARGING", open=True)
PUZZLING = Left("CHARGING", open=True, unclear=True)
DONE_VOIDED = Left("VOIDED", ("PaymentVoided",))
DONE_REFUNDED = Left("REFUNDED", ("PaymentRefunded",), [*BOOKED, *GIVEN_BACK])
CENT_REFUNDED = Left("REFUNDED", ("PaymentRefunded",), A_CENT)
STILL_CHARGED = Left("CHARGED", ("PaymentCharged",), BOOKED, open=True)
STUCK_CHARGED = STILL_CHARGED._replace(unclear=True)
FORGOTTEN = Left("VOIDED", ("PaymentCharged", "PaymentVoided"), [*BOOKED, *CORRECTED])

# What the network says to every question, and what is left of a payment that nobody wants back, of one that somebody
# wants back before it was charged, and of one that was charged and is wanted back.
ANSWERS: dict[str, tuple[Says, Left, Left, Left]] = {
    "charged": (CHARGED, Left("CHARGED", ("PaymentCharged",), BOOKED), STUCK_CHARGED, STUCK_CHARGED),
    "charged a cent": (about("CHARGED", 1), PUZZLING, PUZZLING, STUCK_CHARGED),
    "charged in dollars": (about("CHARGED", PRICE, "USD"), PUZZLING, PUZZLING, STUCK_CHARGED),
    "declined": (
        DECLINED,
        Left("DECLINED", ("PaymentDeclined",)),
        Left("VOIDED", ("PaymentDeclined", "PaymentVoided")),
        FORGOTTEN,
    ),
    "declined a cent": (about("DECLINED", 1), DONE_VOIDED, DONE_VOIDED, FORGOTTEN),
    "refunded": (
        REFUNDED,
        DONE_REFUNDED,
        DONE_REFUNDED,
        Left("REFUNDED", ("PaymentCharged", "PaymentRefunded"), [*BOOKED, *GIVEN_BACK]),
    ),
    "refunded a cent": (about("REFUNDED", 1), CENT_REFUNDED, CENT_REFUNDED, STUCK_CHARGED),
    "voided": (VOIDED, DONE_VOIDED, DONE_VOIDED, FORGOTTEN),
    "voided nothing": (about("VOIDED", 0, ""), DONE_VOIDED, DONE_VOIDED, FORGOTTEN),
    **{name: (says, PUZZLING, PUZZLING, STUCK_CHARGED) for name, says in UNCLEAR.items()},
    **{name: (says, OPEN, OPEN, STILL_CHARGED) for name, says in NO_ANSWER.items()},
}
# What cannot be read is one answer, however it is written: where something is wanted back a few ways of it will do.
SOME = [name for name in ANSWERS if name not in list(UNCLEAR)[1::5] + list(UNCLEAR)[2::5] + list(UNCLEAR)[3::5]]


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    started = Liar()
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def driver(database: Database, liar: Liar, client: Callable[..., CardNetwork]) -> Driver:
    return Driver(database, client(liar.url))


async def left(driver: Driver, order_id: str, *, attempts_max: int = 3) -> Left:
    """What a few attempts leave."""
    for _ in range(attempts_max):
        await driver.attempt(order_id)
    row = await driver.row(order_id)
    told, entries = tuple(await driver.told(order_id)), await driver.entries(order_id)
    entries.sort(key=lambda entry: ("charge", "refund", "correction").index(entry[0]))
    return Left(row.state, told, entries, row.next_attempt_at is not None, row.unclear is not None)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_charge_that_nobody_wants_back(driver: Driver, liar: Liar, order_id: str, answer: str) -> None:
    """Only what fits is believed; what does not is wanted back, and what cannot be read is asked again."""
    says, expected, _, _ = ANSWERS[answer]
    liar.always_says(says)
    await driver.charge(order_id)
    assert await left(driver, order_id) == expected


@pytest.mark.parametrize("answer", SOME)
async def test_an_open_charge_that_somebody_wants_back(driver: Driver, liar: Liar, order_id: str, answer: str) -> None:
    """It ends where the network holds nothing; else the wish stays open, and says why."""
    says, _, expected, _ = ANSWERS[answer]
    liar.always_says(says)
    await driver.charge(order_id)
    await driver.refund(order_id)
    assert await left(driver, order_id) == expected


@pytest.mark.parametrize("answer", SOME)
async def test_a_payment_that_is_not_known_here(driver: Driver, liar: Liar, order_id: str, answer: str) -> None:
    """Voided like an open charge, but never charged; and nothing else is asked."""
    says, _, expected, _ = ANSWERS[answer]
    liar.always_says(says)
    await driver.cancelled(order_id)
    assert await left(driver, order_id) == {"charged": PUZZLING, "declined": DONE_VOIDED}.get(answer, expected)
    assert set(liar.asked) == {"void"}


@pytest.mark.parametrize("answer", SOME)
async def test_a_charged_payment_that_somebody_wants_back(
    driver: Driver, liar: Liar, order_id: str, answer: str
) -> None:
    """A network that forgot the charge, or undid it by itself, is believed: the ledger is corrected."""
    says, _, _, expected = ANSWERS[answer]
    liar.always_says(CHARGED)
    await driver.charge(order_id)
    await driver.settle(order_id)
    liar.always_says(says)
    await driver.refund(order_id)
    assert await left(driver, order_id) == expected


@pytest.mark.parametrize("price", [(1, "EUR"), (PRICE, "USD")])
async def test_a_charge_over_another_amount_is_given_back(
    driver: Driver, liar: Liar, order_id: str, price: tuple[int, str]
) -> None:
    """The order never hears that it is paid; what was taken is booked as the network says, and as given back."""
    liar.says(charge=about("CHARGED", *price), find=about("CHARGED", *price), void=about("REFUNDED", *price))
    await driver.charge(order_id)
    found = await left(driver, order_id)
    assert (found.state, found.told, found.open) == ("REFUNDED", ("PaymentRefunded",), False)
    assert sorted(found.entries) == sorted(A_CENT if price[0] == 1 else [*BOOKED, *GIVEN_BACK])
    assert liar.asked == ["charge", "void"]
    [told] = await driver.outbox(order_id)
    assert isinstance(told.event, PaymentRefunded)
    assert (told.event.amount.amount_minor, told.event.amount.currency_code) == price
    booked = (await driver.get(order_id)).ledger_entries
    assert {entry.amount.currency_code for entry in booked} == {price[1]}


async def test_a_network_that_knows_itself_better_later_is_not_believed(
    driver: Driver, liar: Liar, order_id: str
) -> None:
    """Once an answer did not fit, the money is wanted back, whatever is said next about the charge."""
    liar.says(charge=about("CHARGED", 1), find=CHARGED, void=REFUNDED)
    await driver.charge(order_id)
    assert await left(driver, order_id) == DONE_REFUNDED


@pytest.mark.parametrize(("said", "state"), [(VOIDED, "VOIDED"), (REFUNDED, "REFUNDED"), (CHARGED, "VOIDED")])
async def test_what_was_taken_after_all_is_wanted_back(
    driver: Driver, liar: Liar, order_id: str, said: Says, state: str
) -> None:
    """The network voided, and then says to an overtaken worker that it has charged: it is told to give back."""
    liar.always_says(VOIDED)
    await driver.charge(order_id)
    overtaken = await driver.claim(order_id)
    assert overtaken is not None
    await driver.settle(order_id)
    liar.always_says(said)
    late = Answer(Outcome.CHARGED, Price(PRICE, "EUR"))
    await driver.database.unit_of_work(settlement.record, overtaken, Question.CHARGE, late)
    assert (await driver.get(order_id)).refund_pending
    found = await left(driver, order_id)
    assert (found.state, found.open, found.unclear) == (state, said is CHARGED, said is CHARGED)
    assert found.told == (("PaymentVoided", "PaymentRefunded") if state == "REFUNDED" else ("PaymentVoided",))
    assert found.entries == ([*BOOKED, *GIVEN_BACK] if state == "REFUNDED" else [])


async def test_an_endless_answer_is_not_read_to_its_end(driver: Driver, liar: Liar, order_id: str) -> None:
    """Nor is the time-out waited for."""

    class Endless(web.StreamResponse):
        async def prepare(self, request: web.BaseRequest) -> web.StreamResponse | None:  # pyright: ignore[reportIncompatibleMethodOverride] - the writer is of no use here
            await super().prepare(request)
            while True:
                await self.write(b" " * 4096)

    liar.always_says(lambda _key: Endless())
    await driver.charge(order_id)
    began = time.monotonic()
    await driver.attempt(order_id)
    assert time.monotonic() - began < 2
    row = await driver.row(order_id)
    assert (row.state, row.unclear) == ("CHARGING", "more than 65536 bytes")


async def test_an_attempt_is_never_too_late_to_be_counted(driver: Driver, liar: Liar, order_id: str) -> None:
    """After a week without an answer the pause is what it was after a minute."""
    liar.always_says(hang_up)
    await driver.charge(order_id)
    await driver.attempted(order_id, 100_000)
    await driver.attempt(order_id)
    row = await driver.row(order_id)
    assert row.attempts == 100_001
    assert 0 < (row.next_attempt_at - row.updated_at).total_seconds() < 8
