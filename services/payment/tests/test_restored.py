"""A payment database that was restored from an older dump: the card network knows charges that it has lost."""

import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from shop.payment.v1.payment_events_pb2 import PaymentRefunded
from uuid_utils.compat import uuid7

from chassis.database import Database, Sql
from infra.local.postgres import Postgres
from infra.local.postgres_programs import installed_programs
from services.payment.card_network import CardNetwork
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.network import Network

REFUNDED = [
    ("charge", "card_network", PRICE),
    ("charge", "customer_payments", -PRICE),
    ("refund", "card_network", -PRICE),
    ("refund", "customer_payments", PRICE),
]
EMPTY = "TRUNCATE payments, ledger_entries, outbox, inbox"
_OLD_INTENT = Sql(
    "INSERT payments",
    """
    INSERT INTO payments (payment_id, order_id, state, amount_minor, currency_code, card_token, next_attempt_at,
                          traceparent, tracestate)
    VALUES (:payment_id, :order_id, 'CHARGING', 1250, 'EUR', 'tok_visa', clock_timestamp(), '', '')
    """,
)


class Dump:
    """The service's tables as they were, in a file."""

    def __init__(self, url: str, file: Path) -> None:
        self._url, self.file = url.replace("+asyncpg", ""), file

    def take(self) -> None:
        left_out = ("--exclude-table=alembic_version", "--exclude-table=relay_lease")
        self._run("pg_dump", "--data-only", *left_out, "--file")

    async def restore(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(EMPTY)
        finally:
            await connection.close()
        self._run("psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.devnull, "--file")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(installed_programs() / program), *arguments, str(self.file), self._url]
        subprocess.run(command, check=True, timeout=60)


@pytest.fixture
def yesterday(postgres: Postgres, owner_url: SecretStr, tmp_path: Path) -> Dump:
    """Taken before the test begins, of the migrated database."""
    assert owner_url
    dump = Dump(postgres.superuser_url("payment"), tmp_path / "yesterday.sql")
    dump.take()
    return dump


Undo = Callable[[Driver, str], Awaitable[object]]
UNDO = pytest.mark.parametrize("undo", [Driver.refund, Driver.cancelled], ids=["RefundPayment", "OrderCancelled"])


@UNDO
async def test_a_lost_charge_is_given_back(
    driver: Driver, network: Network, yesterday: Dump, order_id: str, undo: Undo
) -> None:
    """By command and by event: back at the network, in the ledger, and then said, with the amount that it was."""
    payment = await driver.charge(order_id)
    await driver.settle(order_id)
    await yesterday.restore()
    assert await driver.row(order_id) is None
    await undo(driver, order_id)
    assert await driver.told(order_id) == []
    await driver.settle(order_id)
    assert await network.kept(payment.payment_id) == 0
    assert await driver.entries(order_id) == REFUNDED
    [told] = await driver.outbox(order_id)
    assert isinstance(told.event, PaymentRefunded)
    assert (told.event.amount.amount_minor, told.event.amount.currency_code) == (PRICE, "EUR")
    assert {entry.amount.currency_code for entry in (await driver.get(order_id)).ledger_entries} == {"EUR"}


async def test_what_the_dump_holds_is_there_again(
    driver: Driver, postgres: Postgres, tmp_path: Path, order_id: str
) -> None:
    """The tests beside this one miss a payment because the dump is older, not because a restore brings nothing back."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    today = Dump(postgres.superuser_url("payment"), tmp_path / "today.sql")
    today.take()
    await driver.refund(order_id)
    await driver.settle(order_id)
    await today.restore()
    assert (await driver.row(order_id)).state == "CHARGED"
    # The network has given it back meanwhile, and says so.
    await driver.cancelled(order_id)
    await driver.settle(order_id)
    assert await driver.entries(order_id) == REFUNDED


async def test_a_lost_charge_is_not_made_twice(
    driver: Driver, network: Network, yesterday: Dump, order_id: str
) -> None:
    """The command comes again, and the network knows the order's key."""
    first = await driver.charge(order_id)
    await driver.settle(order_id)
    await yesterday.restore()
    again = await driver.charge(order_id)
    await driver.settle(order_id)
    assert again.payment_id == first.payment_id
    assert await network.kept(first.payment_id) == PRICE
    assert await driver.told(order_id) == ["PaymentCharged"]


@UNDO
async def test_a_charge_that_was_never_made_is_voided_first(
    driver: Driver, network: Network, order_id: str, undo: Undo
) -> None:
    """One call, and PaymentVoided only then; a late charge under the order's key takes nothing."""
    await undo(driver, order_id)
    row = await driver.row(order_id)
    assert (row.version, await network.find(row.payment_id)) == (0, None)
    assert await driver.settle(order_id) == 1
    assert await driver.told(order_id) == ["PaymentVoided"]
    late = await network.charge(row.payment_id, PRICE, "tok_visa")
    assert late.json()["state"] == "VOIDED"
    # A second wish, by the other way too, finds it done.
    await driver.refund(order_id)
    await driver.cancelled(order_id)
    assert not await driver.attempt(order_id)
    assert await driver.told(order_id) == ["PaymentVoided"]


async def test_nothing_is_said_while_the_network_is_away(
    database: Database, own_network: Network, client: Callable[..., CardNetwork], order_id: str
) -> None:
    """The tombstone waits like any wish."""
    driver = Driver(database, client(own_network.url))
    own_network.kill()
    await driver.cancelled(order_id)
    await driver.attempt(order_id)
    assert await driver.told(order_id) == []
    assert (await driver.get(order_id)).refund_pending
    await own_network.start()
    await driver.settle(order_id)
    assert await driver.told(order_id) == ["PaymentVoided"]


async def test_a_payment_of_the_release_before_keeps_its_key(driver: Driver, network: Network, order_id: str) -> None:
    """Its id was chance: under that one it is charged, and given back."""
    old = uuid7()
    async with driver.database.single() as once:
        await once.run(_OLD_INTENT, payment_id=old, order_id=order_id)
    await driver.charge(order_id)
    await driver.settle(order_id)
    assert await network.kept(old) == PRICE
    await driver.cancelled(order_id)
    await driver.settle(order_id)
    assert await network.kept(old) == 0
    assert await driver.told(order_id) == ["PaymentCharged", "PaymentRefunded"]
