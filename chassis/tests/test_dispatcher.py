"""Commands survive: what a transaction decided to send is delivered, or refused for ever, and said so."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from opentelemetry.trace import SpanKind
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest
from uuid_utils.compat import uuid7

from chassis import commands, dispatcher, errors, grpc_client, grpc_codes, telemetry
from chassis.commands import Direction
from chassis.database import Database, Transaction
from chassis.dispatcher import CommandRefused, Dispatcher
from chassis.grpc_channel import RedialledChannel
from chassis.settings import ServiceSettings
from chassis.testing import Spans, attributes, context, eventually, is_child, served
from chassis.tests.participant import NAME, SAID, Foreign, Participant, rich, serving
from chassis.tests.surroundings import OwnDatabase, killed, running
from conftest import free_port

METHOD = f"/{NAME}/ReleaseStock"

Start = Callable[[str], Dispatcher]


@pytest.fixture
def refusals() -> list[CommandRefused]:
    return []


@pytest.fixture
async def start(
    database: Database, refusals: list[CommandRefused], stopping: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    """Makes a dispatcher for a participant's address; its retries follow each other quickly."""
    monkeypatch.setattr(dispatcher, "BACKOFF_SECONDS_MAX", 0.05)
    channels: list[RedialledChannel] = []

    async def refused(_transaction: Transaction, refusal: CommandRefused) -> None:
        refusals.append(refusal)

    def make(address: str) -> Dispatcher:
        channels.append(grpc_client.connect(address, retries=False, traced=False))
        return Dispatcher(
            database, {NAME: channels[-1]}, refused, decided_by=send, stopping=stopping, poll_interval_seconds=0.05
        )

    yield make
    for channel in channels:
        await channel.close()


async def send(database: Database, order_id: str, direction: Direction = "forward", step: str = "release") -> None:
    async def decide(transaction: Transaction) -> None:
        command = ReleaseStockRequest(order_id=order_id)
        trace = telemetry.store()
        commands.send(transaction, METHOD, command, saga_id=order_id, step=step, direction=direction, trace=trace)

    await served(database, decide)


async def waiting(own_database: OwnDatabase) -> int:
    return await own_database.value("SELECT count(*) FROM command_outbox")


async def empty(own_database: OwnDatabase) -> bool:
    return await waiting(own_database) == 0


async def test_a_command_is_delivered_and_forgotten(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, start: Start
) -> None:
    """Accepted means done: the payload arrives as it was stored, and the row goes."""
    order_id = str(uuid7())
    participant = Participant()
    async with serving(participant) as address, running(start(address).run, stopping):
        await send(database, order_id)
        await eventually(lambda: empty(own_database))
    assert [request.order_id for request in participant.asked] == [order_id]


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN]
)
async def test_a_command_without_an_answer_is_sent_again(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, start: Start, status: grpc.StatusCode
) -> None:
    """No answer is not a no: the same command comes again until it is accepted, and only the dispatcher repeats it."""
    participant = Participant(status, status, status)
    async with serving(participant) as address, running(start(address).run, stopping):
        await send(database, str(uuid7()))
        await eventually(lambda: empty(own_database))
    assert len(participant.asked) == 4
    assert all(request == participant.asked[0] for request in participant.asked)
    assert all("grpc-previous-rpc-attempts" not in metadata for metadata in participant.metadata)


async def test_a_command_waits_for_a_service_that_is_not_there(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, start: Start
) -> None:
    """Nobody listens: the row stays; somebody listens: it is delivered."""
    port, participant = free_port(), Participant()
    async with running(start(f"127.0.0.1:{port}").run, stopping):
        await send(database, str(uuid7()))
        await eventually(lambda: own_database.value("SELECT coalesce(max(attempts), 0) FROM command_outbox"))
        async with serving(participant, port):
            await eventually(lambda: empty(own_database))
    assert len(participant.asked) == 1


FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
# What comes with a status that none of our services has given.
NOT_OURS: dict[str, Callable[[grpc.StatusCode], bytes | None]] = {
    "nothing": lambda _code: None,
    "empty": lambda _code: b"",
    "a foreign ErrorInfo": lambda code: rich(code, "istio.io"),
    "nobody's ErrorInfo": lambda code: rich(code, ""),
    "nearly ours": lambda code: rich(code, "Shop"),
    "another type": lambda code: rich(code, "shop", "type.googleapis.com/google.rpc.Help"),
    "no status": lambda _code: b"\xff\xff\xff",
    "another code": lambda _code: rich(grpc.StatusCode.OK, "shop"),
    "a broken ErrorInfo": lambda code: rich(code, "shop").replace(b"\x12\x04shop", b"\x12\x7fshop"),
}


@pytest.mark.parametrize("details", NOT_OURS.values(), ids=NOT_OURS)
async def test_only_a_no_of_ours_ends_a_command(
    database: Database,
    own_database: OwnDatabase,
    stopping: asyncio.Event,
    start: Start,
    refusals: list[CommandRefused],
    details: Callable[[grpc.StatusCode], bytes | None],
) -> None:
    """A proxy, or a replica of another version, says what it likes, with any code: the command comes again."""
    participant = Participant(*(Foreign(code, details(code)) for code in FAILURES))
    orders = [str(uuid7()) for _ in FAILURES]
    await asyncio.gather(*(send(database, order_id) for order_id in orders))
    async with serving(participant) as address, running(start(address).run, stopping):
        await eventually(lambda: empty(own_database))
    assert refusals == []
    assert sorted(request.order_id for request in participant.asked) == sorted([*orders, *orders])


async def test_a_no_of_ours_ends_a_command_whatever_its_code(
    database: Database,
    own_database: OwnDatabase,
    stopping: asyncio.Event,
    start: Start,
    refusals: list[CommandRefused],
) -> None:
    """The ErrorInfo says that it was the service itself that answered."""
    participant = Participant(*(Foreign(code, rich(code, "shop")) for code in FAILURES))
    await asyncio.gather(*(send(database, str(uuid7())) for _ in FAILURES))
    async with serving(participant) as address, running(start(address).run, stopping):
        await eventually(lambda: empty(own_database))
    assert len(participant.asked) == len(FAILURES)
    assert sorted(refusal.reason for refusal in refusals) == sorted(f"{code.name}: {SAID}" for code in FAILURES)


async def test_what_the_server_refuses_before_its_servicer_sees_it_is_a_no_of_ours(
    database: Database,
    own_database: OwnDatabase,
    stopping: asyncio.Event,
    start: Start,
    refusals: list[CommandRefused],
) -> None:
    """A command that breaks a rule of its proto will never be accepted."""
    participant = Participant()
    async with serving(participant) as address, running(start(address).run, stopping):
        await send(database, "no uuid")
        await eventually(lambda: empty(own_database))
    assert participant.asked == []
    assert [refusal.reason.split(":")[0] for refusal in refusals] == ["INVALID_ARGUMENT"]


@pytest.mark.parametrize("refusal", [errors.Invalid("not like this"), errors.WrongState("not now")])
async def test_a_permanent_refusal_is_told_to_the_saga(
    database: Database,
    own_database: OwnDatabase,
    stopping: asyncio.Event,
    start: Start,
    refusals: list[CommandRefused],
    refusal: errors.Refusal,
) -> None:
    """What can never be accepted is not sent again; the saga hears of it, and the row goes in the same transaction."""
    order_id = str(uuid7())
    participant = Participant(refusal)
    async with serving(participant) as address, running(start(address).run, stopping):
        await send(database, order_id)
        await eventually(lambda: empty(own_database))
    assert len(participant.asked) == 1
    code = grpc_codes.code(refusal)
    assert refusals == [CommandRefused(order_id, "release", f"{code.name}: {refusal.message}")]


async def test_a_refusal_the_saga_cannot_hear_yet_is_not_lost(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the saga's transaction fails, the row stays, and the refusal is heard at the next delivery."""
    monkeypatch.setattr(dispatcher, "RPC_DEADLINE_SECONDS", 0.5)
    monkeypatch.setattr(dispatcher, "CLAIM_MARGIN_SECONDS", 0.1)
    heard = 0

    async def refused(_transaction: Transaction, _refusal: CommandRefused) -> None:
        nonlocal heard
        heard += 1
        if heard == 1:
            raise LookupError("not now")

    participant = Participant(errors.Invalid("no"), errors.Invalid("no"))
    async with serving(participant) as address, grpc_client.connect(address, retries=False, traced=False) as channel:
        made = Dispatcher(
            database, {NAME: channel}, refused, decided_by=send, stopping=stopping, poll_interval_seconds=0.05
        )
        async with running(made.run, stopping):
            await send(database, str(uuid7()))
            await eventually(lambda: heard == 2)
            await eventually(lambda: empty(own_database))


async def test_a_crash_between_delivery_and_delete_is_made_good_by_delivering_again(
    database: Database, own_database: OwnDatabase, settings: ServiceSettings, stopping: asyncio.Event, start: Start
) -> None:
    """Killed after the receiver had accepted: another dispatcher repeats the command when its claim has run out."""
    participant = Participant()
    async with serving(participant) as address:
        await send(database, str(uuid7()))
        await killed(settings, "dispatcher", address, "1.5")
        assert len(participant.asked) == 1
        assert await waiting(own_database) == 1
        async with running(start(address).run, stopping):
            await eventually(lambda: empty(own_database))
    first, again = participant.asked
    assert again == first


async def test_a_crash_before_the_saga_has_heard_a_refusal_loses_nothing(
    database: Database,
    own_database: OwnDatabase,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    start: Start,
    refusals: list[CommandRefused],
) -> None:
    """Killed in the transaction that tells the saga: the row is still there, and the refusal is heard once."""
    participant = Participant(errors.Invalid("no"), errors.Invalid("no"))
    async with serving(participant) as address:
        await send(database, str(uuid7()))
        await killed(settings, "dispatcher", address, "1.5")
        assert await waiting(own_database) == 1
        async with running(start(address).run, stopping):
            await eventually(lambda: empty(own_database))
    assert len(participant.asked) == 2
    assert len(refusals) == 1


async def test_two_dispatchers_share_the_work(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, start: Start
) -> None:
    """Replicas claim row by row: each command is delivered, none by both."""
    participant = Participant()
    orders = [str(uuid7()) for _ in range(60)]
    async with (
        serving(participant) as address,
        running(start(address).run, stopping),
        running(start(address).run, stopping),
    ):
        await asyncio.gather(*(send(database, order_id) for order_id in orders))
        await eventually(lambda: empty(own_database))
    assert sorted(request.order_id for request in participant.asked) == sorted(orders)


async def test_a_withdrawn_command_is_not_delivered(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, start: Start
) -> None:
    """Starting a compensation deletes the forward commands not yet delivered, and nothing else."""
    order_id, participant = str(uuid7()), Participant()
    await send(database, order_id, "forward", "reserve")
    await send(database, order_id, "compensate", "release")
    await database.unit_of_work(commands.withdraw, order_id)
    async with serving(participant) as address, running(start(address).run, stopping):
        await eventually(lambda: empty(own_database))
    assert len(participant.asked) == 1


async def test_the_id_of_a_command_is_derived_from_saga_and_step(database: Database, own_database: OwnDatabase) -> None:
    """Sending again what still waits brings it forward, under the same id, and makes no second row."""
    order_id = str(uuid7())
    await send(database, order_id)
    [before] = await own_database.ask("SELECT id FROM command_outbox")
    await own_database.ask("UPDATE command_outbox SET next_attempt_at = clock_timestamp() + interval '1 hour'")
    await send(database, order_id)
    [after] = await own_database.ask("SELECT id, next_attempt_at <= clock_timestamp() AS due FROM command_outbox")
    assert after["id"] == before["id"]
    assert after["due"]


async def test_no_more_than_so_many_commands_are_under_way(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event
) -> None:
    """Commands go out side by side, up to a bound."""

    async def refused(_transaction: Transaction, _refusal: CommandRefused) -> None:
        raise AssertionError

    participant = Participant()
    participant.answers.clear()
    async with serving(participant) as address, grpc_client.connect(address, retries=False, traced=False) as channel:
        made = Dispatcher(database, {NAME: channel}, refused, decided_by=send, stopping=stopping, concurrency_max=4)
        async with running(made.run, stopping):
            await asyncio.gather(*(send(database, str(uuid7())) for _ in range(10)))
            await eventually(lambda: participant.at_work == 4)
            participant.answers.set()
            await eventually(lambda: empty(own_database))
    assert participant.at_work_max == 4


async def test_a_claim_takes_no_more_than_it_has_room_for_however_it_is_planned(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event
) -> None:
    """A planner may read what it updates row by row, and the due rows anew for each of them."""

    async def refused(_transaction: Transaction, _refusal: CommandRefused) -> None:
        raise AssertionError

    participant = Participant()
    participant.answers.clear()
    async with (
        own_database.planning_nested_loops(),
        serving(participant) as address,
        grpc_client.connect(address, retries=False, traced=False) as channel,
    ):
        await asyncio.gather(*(send(database, str(uuid7())) for _ in range(10)))
        made = Dispatcher(database, {NAME: channel}, refused, decided_by=send, stopping=stopping, concurrency_max=4)
        async with running(made.run, stopping):
            await eventually(lambda: participant.at_work == 4)
            assert await own_database.value("SELECT count(*) FROM command_outbox WHERE attempts > 0") == 4
            participant.answers.set()
            await eventually(lambda: empty(own_database))
    assert participant.at_work_max == 4


async def test_a_command_continues_the_trace_it_was_decided_in(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event, start: Start, spans: Spans
) -> None:
    """The saga's span is the call's CLIENT span: it hangs below the decision, and the server's below it."""
    order_id = str(uuid7())
    async with serving(Participant()) as address, running(start(address).run, stopping):
        with telemetry.span("decision"):
            await send(database, order_id)
        await eventually(lambda: empty(own_database))
    decided, saga = spans.one("decide"), spans.one("saga release")
    assert is_child(saga, decided)
    found = attributes(saga)
    assert (found["shop.saga.step"], found["shop.saga.direction"]) == ("release", "forward")
    assert (found["shop.saga.attempt"], found["shop.command.try"]) == (1, 1)
    assert found["code.function.name"] == "chassis.tests.test_dispatcher.send"
    assert (found["rpc.method"], found["rpc.status_code"]) == (METHOD[1:], "OK")
    assert saga.kind is SpanKind.CLIENT
    server = spans.one(METHOD[1:])
    assert server.kind is SpanKind.SERVER
    assert is_child(server, saga)
    assert [attributes(span)["shop.order.id"] for span in (saga, server)] == [order_id] * 2
    assert context(server).trace_id == context(decided).trace_id
