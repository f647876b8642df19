"""The trouble of one target stays its own: it delays no other's commands, and is not called without end."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest
from shop.payment.v1.payment_pb2 import Payment
from shop.payment.v1.payment_service_pb2 import RefundPaymentRequest
from shop.payment.v1.payment_service_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from chassis import backoff, commands, dispatcher, grpc_client, targets, telemetry
from chassis.database import Database, Transaction
from chassis.dispatcher import CommandRefused, Dispatcher
from chassis.testing import eventually, served
from chassis.tests.participant import NAME, Foreign, Participant, serving
from chassis.tests.surroundings import OwnDatabase, running
from conftest import free_port

PAYMENT = "shop.payment.v1.PaymentService"
# The dispatcher's own tests run on both kinds of servers.
embedded = pytest.mark.parametrize("containers", ["embedded"], indirect=True)

UNAVAILABLE, UNIMPLEMENTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED
WAITING = 1_000
# What the chassis says of a target's life.
GONE, BACK, ONE = "not delivered: the target is gone", "the target is back", "command not delivered; trying again"


class Payments(PaymentServiceServicer):
    """Accepts whatever comes, and notes when each order's command came."""

    def __init__(self) -> None:
        self.called_at: dict[str, float] = {}

    async def RefundPayment(self, request: RefundPaymentRequest, context: Any) -> Payment:
        self.called_at[request.order_id] = time.monotonic()
        return Payment(order_id=request.order_id)


@dataclass
class Caller:
    """One replica of the service that sends commands."""

    database: Database
    own_database: OwnDatabase
    stopping: asyncio.Event

    @asynccontextmanager
    async def sends(self, **addresses: str) -> AsyncGenerator[None]:
        """Deliver commands to inventory, and to payment, until the block ends."""
        names = {"inventory": NAME, "payment": PAYMENT}

        async def refused(_transaction: Transaction, refusal: CommandRefused) -> None:
            raise AssertionError(refusal)

        async with AsyncExitStack() as stack:
            channels = {
                names[name]: await stack.enter_async_context(grpc_client.connect(address, retries=False, traced=False))
                for name, address in addresses.items()
            }
            made = Dispatcher(
                self.database, channels, refused, decided_by=send, stopping=self.stopping, poll_interval_seconds=0.2
            )
            await stack.enter_async_context(running(made.run, self.stopping))
            yield

    async def waiting(self) -> int:
        return await self.own_database.value("SELECT count(*) FROM command_outbox")

    async def nothing_waits(self) -> bool:
        return await self.waiting() == 0

    async def attempts(self) -> int:
        return await self.own_database.value("SELECT coalesce(sum(attempts), 0) FROM command_outbox")

    async def fill(self, number: int = WAITING) -> None:
        """So many commands wait for inventory."""
        rows = [str(uuid7()) for _ in range(number)]

        async def decide(transaction: Transaction) -> None:
            for order_id in rows:
                send(transaction, order_id)

        await served(self.database, decide)

    async def send(self, send_command: Callable[[Transaction, str], None], order_id: str = "") -> str:
        """One command of an order, by default a new one; returns the order once it is committed."""
        order_id = order_id or str(uuid7())

        async def decide(transaction: Transaction) -> None:
            send_command(transaction, order_id)

        await served(self.database, decide)
        return order_id


def send(transaction: Transaction, order_id: str) -> None:
    """A command to inventory."""
    method, command = f"/{NAME}/ReleaseStock", ReleaseStockRequest(order_id=order_id)
    commands.send(transaction, method, command, saga_id=order_id, step="release", trace=telemetry.store())


def refund(transaction: Transaction, order_id: str) -> None:
    """A command to payment."""
    method, command = f"/{PAYMENT}/RefundPayment", RefundPaymentRequest(order_id=order_id)
    commands.send(transaction, method, command, saga_id=order_id, step="refund", trace=telemetry.store())


@pytest.fixture
def caller(database: Database, own_database: OwnDatabase, stopping: asyncio.Event) -> Caller:
    return Caller(database, own_database, stopping)


@pytest.fixture
async def payments() -> AsyncIterator[tuple[Payments, str]]:
    servicer, server = Payments(), grpc.aio.server()
    add_PaymentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@embedded
async def test_a_target_that_hangs_delays_no_command_to_another(
    caller: Caller, payments: tuple[Payments, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inventory takes calls and never answers, a thousand commands wait for it, and 20 a second come for each."""
    monkeypatch.setattr(dispatcher, "RPC_DEADLINE_SECONDS", 1.5)
    servicer, payment = payments
    inventory = Participant()
    inventory.answers.clear()
    committed_at: dict[str, float] = {}
    await caller.fill()
    async with serving(inventory) as address, caller.sends(inventory=address, payment=payment):
        await eventually(lambda: inventory.at_work)
        # Past the moment in which the first calls run into their deadline, and all of them are tried again.
        ends_at = time.monotonic() + dispatcher.RPC_DEADLINE_SECONDS + 1.0
        while time.monotonic() < ends_at:
            await caller.send(send)
            order_id = await caller.send(refund)
            committed_at[order_id] = time.monotonic()
            await asyncio.sleep(0.05)
        await eventually(lambda: len(servicer.called_at) == len(committed_at), seconds_max=1)
        inventory.answers.set()
    waited = [servicer.called_at[order_id] - at for order_id, at in committed_at.items()]
    assert statistics.median(waited) <= 0.1, sorted(waited)
    assert inventory.at_work_max <= 32


End = Callable[[Participant], Awaitable[None]]


@asynccontextmanager
async def nobody_listens(participant: Participant) -> AsyncGenerator[tuple[str, End]]:
    """Its port is closed; then it is opened."""
    port = free_port()
    async with AsyncExitStack() as stack:

        async def end(participant: Participant) -> None:
            await stack.enter_async_context(serving(participant, port))

        yield f"127.0.0.1:{port}", end


@asynccontextmanager
async def it_never_answers(participant: Participant) -> AsyncGenerator[tuple[str, End]]:
    """It takes calls, and answers none of them; then it does."""
    participant.answers.clear()

    async def end(participant: Participant) -> None:
        participant.answers.set()

    async with serving(participant) as address:
        try:
            yield address, end
        finally:
            participant.answers.set()


def it_always_says(code: grpc.StatusCode) -> Callable[[Participant], Any]:
    @asynccontextmanager
    async def outage(participant: Participant) -> AsyncGenerator[tuple[str, End]]:
        away = True

        async def on_call() -> None:
            if away:
                participant.answer_with(Foreign(code))

        async def end(_participant: Participant) -> None:
            nonlocal away
            away = False

        participant.on_call = on_call
        async with serving(participant) as address:
            yield address, end

    return outage


@pytest.mark.parametrize(
    ("outage", "number"),
    [
        pytest.param(nobody_listens, WAITING, id="nobody listens"),
        pytest.param(it_never_answers, 200, id="it never answers"),
        pytest.param(it_always_says(UNAVAILABLE), 200, id="it is always unavailable"),
        pytest.param(it_always_says(UNIMPLEMENTED), 200, id="a proxy answers"),
    ],
)
@embedded
async def test_a_target_that_is_gone_is_probed_now_and_then_and_gets_all_when_it_is_back(
    caller: Caller, outage: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command is claimed for it, no attempt counted; one line when it goes, one when it is back, none in between."""
    monkeypatch.setattr(dispatcher, "RPC_DEADLINE_SECONDS", 1.2)
    participant = Participant()
    await caller.fill(number)

    def said(event: str) -> list[dict[str, Any]]:
        return [dict(line) for line in logs if line["event"] == event]

    with capture_logs() as logs:
        async with outage(participant) as (address, end), caller.sends(inventory=address):
            await eventually(lambda: said(GONE))
            # What was called before it was known to be gone has ended by now.
            await eventually(lambda: caller_is_quiet(participant))
            attempts, calls, began = await caller.attempts(), len(participant.asked), time.monotonic()
            await asyncio.sleep(1.2)
            assert await caller.attempts() == attempts
            assert len(participant.asked) - calls <= 4 * (time.monotonic() - began)
            # Of what a single command met, before others met it too, one line may tell.
            assert [line["event"] for line in logs] in ([GONE], [ONE, GONE])
            calls = len(participant.asked)
            await end(participant)
            back_at = time.monotonic()
            await eventually(lambda: len({request.order_id for request in participant.asked}) == number)
            assert time.monotonic() - back_at <= 5
            await eventually(caller.nothing_waits)
            await eventually(lambda: said(BACK))
    [gone], [back] = said(GONE), said(BACK)
    assert (gone["target"], gone["waiting"]) == (NAME, number)
    assert (back["target"], back["delivered"]) == (NAME, number)
    assert 1.5 < back["seconds"] < 15
    assert [line["event"] for line in logs] in ([GONE, BACK], [ONE, GONE, BACK])


def caller_is_quiet(participant: Participant) -> bool:
    """No more calls are open than probes may be."""
    return participant.at_work <= 6


@embedded
async def test_one_command_that_is_never_accepted_makes_its_target_not_gone(caller: Caller) -> None:
    """Its own trouble is told each time, and costs the others nothing."""
    poison = str(uuid7())
    participant = Participant()

    async def on_call() -> None:
        if participant.asked[-1].order_id == poison:
            raise LookupError("a bug that this order meets")

    participant.on_call = on_call
    with capture_logs() as logs:
        async with serving(participant) as address, caller.sends(inventory=address):
            await caller.send(send, poison)
            await eventually(lambda: len(participant.asked) >= 4)
            began = time.monotonic()
            await caller.send(send)
            await eventually(lambda: participant.asked[-1].order_id != poison or time.monotonic() - began > 0.5)
            assert time.monotonic() - began < 0.5
            await caller.own_database.ask("DELETE FROM command_outbox")
    events = [line["event"] for line in logs]
    assert GONE not in events
    assert events.count(ONE) >= 3


@embedded
async def test_a_short_trouble_is_over_with_the_first_call_that_is_accepted(caller: Caller) -> None:
    """A restart of a moment is no news, and costs the commands no more than a moment."""
    participant = Participant(*[UNAVAILABLE] * 3)
    with capture_logs() as logs:
        async with serving(participant) as address, caller.sends(inventory=address):
            await caller.fill(3)
            await eventually(caller.nothing_waits, seconds_max=2)
    assert [line["event"] for line in logs if line["event"] in (GONE, BACK)] == []


@embedded
async def test_a_command_that_was_tried_thousands_of_times_is_tried_again(caller: Caller) -> None:
    """From the 1,024th doubling on the wait would be too large for a float."""
    participant = Participant(grpc.StatusCode.INTERNAL)
    await caller.fill(1)
    await caller.own_database.ask("UPDATE command_outbox SET attempts = 5000")
    began = time.monotonic()
    with capture_logs() as logs:
        async with serving(participant) as address, caller.sends(inventory=address):
            await eventually(lambda: participant.asked)
            await eventually(lambda: any(line["event"] == ONE for line in logs))
            await eventually(lambda: deferred(caller, began))
            await caller.own_database.ask("DELETE FROM command_outbox")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == []


async def deferred(caller: Caller, began: float) -> bool:
    """The command is no longer claimed: it waits for its next try."""
    claimed = dispatcher.RPC_DEADLINE_SECONDS + dispatcher.CLAIM_MARGIN_SECONDS - (time.monotonic() - began) - 0.1
    return await caller.own_database.value(
        "SELECT count(*) = 0 OR bool_or(next_attempt_at < clock_timestamp() + make_interval(secs => $1))"
        " FROM command_outbox",
        claimed,
    )


def test_a_wait_is_bounded_however_often_was_tried() -> None:
    """Full jitter: up to the bound, from nothing on."""
    for attempts in (0, 1, 10, 1_023, 1_024, 2**31 - 1):
        waits = [backoff.full_jitter(attempts, 0.1, 5.0) for _ in range(200)]
        assert min(waits) >= 0
        assert max(waits) <= min(5.0, 0.1 * 2 ** min(attempts, 6))
    assert max(backoff.full_jitter(1_024, 0.1, 5.0) for _ in range(200)) > 3


class Clock:
    """The monotonic clock, as a test sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(targets, "time", self)

    def monotonic(self) -> float:
        return self.now


def test_a_call_that_hangs_while_others_are_accepted_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica of two stands still: the target is there."""
    clock, target = Clock(monkeypatch), targets.Target("there", 32)
    target.begin(2)
    clock.now += 2.9
    target.accept()
    clock.now += 0.1
    assert not target.fail(uuid7(), grpc.StatusCode.DEADLINE_EXCEEDED, 100.0)
    assert not target.is_to_blame(grpc.StatusCode.DEADLINE_EXCEEDED, 100.0)


def test_a_failure_of_long_ago_does_not_make_a_target_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent meanwhile: the silence begins with the call that found nobody."""
    clock, target = Clock(monkeypatch), targets.Target("quiet", 32)
    assert not target.fail(uuid7(), UNAVAILABLE, clock.now)
    clock.now += 600
    assert not target.fail(uuid7(), UNAVAILABLE, clock.now)
    clock.now += 1.1
    assert target.fail(uuid7(), UNAVAILABLE, clock.now)
