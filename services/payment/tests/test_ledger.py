"""The laws of the ledger, kept by the database whatever the code does."""

import traceback

import asyncpg
import pytest
from shop.payment.v1.payment_pb2 import LedgerEntry, Payment

from chassis.database import Database, Sql
from services.payment import ledger
from services.payment.tests.driver import PRICE, Driver
from services.payment.verdict import Price

_ONE_SIDED = Sql(
    "INSERT ledger_entries",
    """
    INSERT INTO ledger_entries (payment_id, posting, account, amount_minor, currency_code)
    VALUES (:payment_id, 'refund', 'card_network', -1, 'EUR')
    """,
)
_MIXED = Sql(
    "INSERT ledger_entries",
    """
    INSERT INTO ledger_entries (payment_id, posting, account, amount_minor, currency_code)
    VALUES (:payment_id, 'refund', 'card_network', -1, 'EUR'), (:payment_id, 'refund', 'customer_payments', 1, 'USD')
    """,
)
_CHANGE = Sql("UPDATE ledger_entries", "UPDATE ledger_entries SET amount_minor = 0")
_DELETE = Sql("DELETE ledger_entries", "DELETE FROM ledger_entries")
_TRUNCATE = Sql("TRUNCATE ledger_entries", "TRUNCATE ledger_entries")
_FORGET = Sql("DELETE payments", "DELETE FROM payments")
_REPRICE = Sql("UPDATE payments", "UPDATE payments SET amount_minor = 0")
_FAULTY = Sql("SELECT payments", "SELECT 1 / 0 FROM payments WHERE card_token <> :card_token")
_MISSTATE = Sql("UPDATE payments", "UPDATE payments SET state = 'LOST' WHERE order_id = :order_id")
_SUM = Sql("SELECT ledger_entries", "SELECT coalesce(sum(amount_minor), 0) AS total FROM ledger_entries")

CHARGE, REFUND = LedgerEntry.CHARGE, LedgerEntry.REFUND
CARD_NETWORK, CUSTOMER_PAYMENTS = LedgerEntry.CARD_NETWORK, LedgerEntry.CUSTOMER_PAYMENTS
INSUFFICIENT_PRIVILEGE, CHECK_VIOLATION, UNIQUE_VIOLATION = "42501", "23514", "23505"


async def refused(database: Database, sql: Sql, **parameters: object) -> str:
    """Run what must fail; returns the SQLSTATE."""
    with pytest.raises(asyncpg.PostgresError) as error:
        async with database.single() as once:
            await once.run(sql, **parameters)
    return str(getattr(error.value, "sqlstate", ""))


async def test_the_ledger_sums_to_zero(driver: Driver, order_id: str) -> None:
    """After charges and refunds, over everything."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    await driver.refund(order_id)
    await driver.settle(order_id)
    assert len(await driver.entries(order_id)) == 4
    async with driver.database.single() as once:
        row = await once.first(_SUM)
    assert row is not None
    assert row.total == 0


async def test_a_payment_is_read_with_its_entries(driver: Driver, order_id: str) -> None:
    """None while it is open, one posting when it is charged, another when it is refunded: they sum to zero."""
    asked = await driver.charge(order_id)
    assert await driver.get(order_id) == asked
    await driver.settle(order_id)
    charged = await driver.get(order_id)
    taken = [(CHARGE, CARD_NETWORK, PRICE), (CHARGE, CUSTOMER_PAYMENTS, -PRICE)]
    assert booked(charged) == taken
    await driver.refund(order_id)
    await driver.settle(order_id)
    refunded = await driver.get(order_id)
    assert booked(refunded) == [*taken, (REFUND, CARD_NETWORK, -PRICE), (REFUND, CUSTOMER_PAYMENTS, PRICE)]
    assert refunded.ledger_entries[:2] == charged.ledger_entries
    assert {entry.amount.currency_code for entry in refunded.ledger_entries} == {"EUR"}
    times = [entry.create_time.ToNanoseconds() for entry in refunded.ledger_entries]
    assert max(times[:2]) < min(times[2:])


def booked(payment: Payment) -> list[tuple[int, int, int]]:
    return [(entry.posting, entry.account, entry.amount.amount_minor) for entry in payment.ledger_entries]


@pytest.mark.parametrize("card_token", ["tok_declined", "tok_visa"])
async def test_a_payment_that_took_nothing_is_read_without_entries(
    driver: Driver, order_id: str, card_token: str
) -> None:
    """One that was declined, and one that was undone before it was charged."""
    await driver.charge(order_id, card_token)
    if card_token == "tok_visa":
        await driver.refund(order_id)
    await driver.settle(order_id)
    payment = await driver.get(order_id)
    assert (payment.state in (Payment.DECLINED, Payment.VOIDED), booked(payment)) == (True, [])


@pytest.mark.parametrize("sql", [_ONE_SIDED, _MIXED])
async def test_a_posting_that_does_not_balance_is_refused(driver: Driver, order_id: str, sql: Sql) -> None:
    """One side alone, or two currencies."""
    await driver.charge(order_id)
    payment_id = (await driver.row(order_id)).payment_id
    assert await refused(driver.database, sql, payment_id=payment_id) == CHECK_VIOLATION
    assert await driver.entries(order_id) == []


async def test_a_payment_is_not_booked_twice(driver: Driver, order_id: str) -> None:
    """The database refuses a second posting of a kind."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    payment_id = (await driver.row(order_id)).payment_id
    with pytest.raises(asyncpg.PostgresError) as error:
        await driver.database.unit_of_work(ledger.post, "charge", payment_id, Price(PRICE, "EUR"))
    assert getattr(error.value, "sqlstate", "") == UNIQUE_VIOLATION


@pytest.mark.parametrize("sql", [_CHANGE, _DELETE, _TRUNCATE, _FORGET, _REPRICE], ids=lambda sql: sql.summary)
async def test_the_running_role_cannot_rewrite_history(driver: Driver, sql: Sql) -> None:
    """No entry changes or goes, no payment is forgotten or gets another price."""
    assert await refused(driver.database, sql) == INSUFFICIENT_PRIVILEGE


async def test_a_fault_of_the_database_does_not_tell_the_card(driver: Driver) -> None:
    """Errors end in logs and span statuses; the statement's values must not."""
    with pytest.raises(asyncpg.PostgresError) as error:
        async with driver.database.single() as once:
            await once.run(_FAULTY, card_token="tok_secret")
    told = "".join(traceback.format_exception_only(error.value))
    assert "SELECT 1 / 0" in told
    assert "tok_secret" not in told


async def test_a_refused_row_does_not_tell_the_card(driver: Driver, order_id: str) -> None:
    """PostgreSQL quotes the row that breaks a rule, all of it."""
    await driver.charge(order_id)
    with pytest.raises(asyncpg.CheckViolationError) as error:
        async with driver.database.single() as once:
            await once.run(_MISSTATE, order_id=order_id)
    told = "".join(traceback.format_exception_only(error.value))
    assert "UPDATE payments" in told
    assert (await driver.row(order_id)).card_token not in told
