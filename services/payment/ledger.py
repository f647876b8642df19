"""The double-entry ledger: what was taken and given back, in entries that are added and never changed.

charge:  debit card_network, credit customer_payments        refund, correction:  the same, reversed

A refund is money that the network gave back; a correction takes back what was booked for a charge of which the network
says that it took nothing.

The database keeps its laws: a posting that does not sum to zero is refused, a second one of a kind too, and the
running role may neither change nor delete an entry.
"""

from uuid import UUID

from chassis.database import Sql, Transaction
from services.payment.verdict import Posting, Price

_ACCOUNTS = ("card_network", "customer_payments")
_SIGNS: dict[Posting, tuple[int, int]] = {"charge": (1, -1), "refund": (-1, 1), "correction": (-1, 1)}

_POST = Sql(
    "INSERT ledger_entries",
    """
    INSERT INTO ledger_entries (payment_id, posting, account, amount_minor, currency_code)
    SELECT :payment_id, :posting, account, amount_minor, :currency_code
    FROM unnest(CAST(:accounts AS text[]), CAST(:amounts_minor AS bigint[])) AS entry (account, amount_minor)
    """,
)


async def post(transaction: Transaction, posting: Posting, payment_id: UUID, price: Price) -> None:
    """Book an amount that was taken, given back, or not taken after all."""
    await transaction.run(
        _POST,
        payment_id=payment_id,
        posting=posting,
        accounts=list(_ACCOUNTS),
        amounts_minor=[sign * price.amount_minor for sign in _SIGNS[posting]],
        currency_code=price.currency_code,
    )
