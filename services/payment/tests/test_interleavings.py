"""Commands, workers, crashes and lost answers in any order: the payment always ends, and both books agree."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from chassis.database import Database
from services.payment.card_network import CardNetwork
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.network import Network
from services.payment.verdict import Answer, NoAnswer

T = TypeVar("T")

# What the world may have been told by the time that a payment rests in a state.
STORIES = {
    "CHARGED": [["PaymentCharged"]],
    "DECLINED": [["PaymentDeclined"]],
    "REFUNDED": [["PaymentCharged", "PaymentRefunded"], ["PaymentRefunded"]],
    "VOIDED": [["PaymentVoided"], ["PaymentDeclined", "PaymentVoided"]],
}


class SteppedNetwork(CardNetwork):
    """The real network, but each call waits to be let out, and its answer to be let in."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5, connections_max=2)
        self._permits = asyncio.Semaphore(0)
        self._waiting = asyncio.Event()
        self._lost = False

    async def charge(self, payment_id: UUID, amount_minor: int, currency_code: str, card_token: str) -> Answer:
        return await self._stepped(
            lambda: CardNetwork.charge(self, payment_id, amount_minor, currency_code, card_token)
        )

    async def find(self, payment_id: UUID) -> Answer | None:
        return await self._stepped(lambda: CardNetwork.find(self, payment_id))

    async def void(self, payment_id: UUID) -> Answer:
        return await self._stepped(lambda: CardNetwork.void(self, payment_id))

    async def step(self, task: "asyncio.Task[None]", *, lost: bool = False) -> None:
        """Let the worker go on until it waits again or ends; what it waits for now may be lost."""
        self._lost = lost
        self._waiting.clear()
        self._permits.release()
        await self.settled(task)

    async def settled(self, task: "asyncio.Task[None]") -> None:
        """Wait until the worker waits or ends."""
        waits = asyncio.create_task(self._waiting.wait())
        await asyncio.wait({task, waits}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()

    async def _stepped(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._gate()
        answer = await call()
        await self._gate()
        return answer

    async def _gate(self) -> None:
        self._waiting.set()
        await self._permits.acquire()
        if self._lost:
            raise NoAnswer("lost")


class World:
    """One order's payment, the workers that are at it, and what happens to them."""

    def __init__(self, database: Database, network: Network, card_token: str) -> None:
        self._database, self._network, self._card_token = database, network, card_token
        self._order_id = str(uuid7())
        self._workers: list[tuple[SteppedNetwork, asyncio.Task[None]]] = []
        self._outside = CardNetwork(network.url, timeout_seconds=5, connections_max=2)
        self._driver = Driver(database, self._outside)

    async def happens(self, action: str) -> None:
        """A command, an event, a new worker, or a step or the death of the oldest or the newest worker."""
        match action.split():
            case ["charge"]:
                await self._driver.charge(self._order_id, self._card_token)
            case ["refund"]:
                await self._driver.refund(self._order_id)
            case ["cancelled"]:
                await self._driver.cancelled(self._order_id)
            case ["worker"]:
                await self._begin_work()
            case [what, which] if self._workers:
                await self._at_worker(what, 0 if which == "oldest" else -1)
            case _:
                pass

    async def _begin_work(self) -> None:
        await self._driver.expire(self._order_id)
        row = await self._driver.claim(self._order_id)
        if row is not None:
            network = SteppedNetwork(self._network.url)
            task = asyncio.create_task(Driver(self._database, network).work(row))
            self._workers.append((network, task))
            await network.settled(task)

    async def _at_worker(self, what: str, which: int) -> None:
        network, task = self._workers[which]
        if what == "kill":
            task.cancel()
            await asyncio.wait({task})
        else:
            await network.step(task, lost=what == "lose")
        if task.done():
            self._workers.pop(which)
            await network.close()
            assert task.cancelled() or task.exception() is None

    async def ends(self) -> None:
        """Somebody brings the work to an end, and workers that were overtaken bring their answers after all."""
        await self._driver.settle(self._order_id)
        while self._workers:
            await self._at_worker("step", 0)
        await self._driver.settle(self._order_id)
        await self._outside.close()

    async def check(self, *, refunded: bool) -> None:
        row: Any = await self._driver.row(self._order_id)
        if row is None:
            return
        assert row.card_token is None
        assert await self._driver.told(self._order_id) in STORIES[row.state]
        kept = await self._network.kept(row.payment_id)
        assert kept == (PRICE if row.state == "CHARGED" else 0)
        entries = await self._driver.entries(self._order_id)
        assert sum(amount for _, account, amount in entries if account == "card_network") == kept
        assert sum(amount for _, _, amount in entries) == 0
        if refunded or row.refund_requested_at is not None:
            assert row.state in ("REFUNDED", "VOIDED")


ACTIONS = st.sampled_from(
    ["charge", "refund", "cancelled", "worker", "worker", "step oldest", "step newest", "kill oldest", "lose oldest"]
)


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    # Every example has an order of its own; the fixtures hold nothing of an order.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(ACTIONS, min_size=4, max_size=16), card_token=st.sampled_from(["tok_visa", "tok_declined"]))
async def test_any_interleaving_ends_with_both_books_in_agreement(
    database: Database, network: Network, actions: list[str], card_token: str
) -> None:
    """What the network keeps is what the ledger says, and the events tell how it came to that."""
    world = World(database, network, card_token)
    for action in ["charge", "worker", *actions]:
        await world.happens(action)
    await world.ends()
    await world.check(refunded="refund" in actions)
