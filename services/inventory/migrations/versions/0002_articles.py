"""The articles that the shop begins with."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO stock (sku, available, unit_price_minor, currency_code) VALUES
            ('espresso-beans', 1000000, 1490, 'EUR'),
            ('filter-papers', 1000000, 390, 'EUR'),
            ('milk-jug', 50000, 2250, 'EUR'),
            ('grinder', 20000, 12900, 'EUR'),
            ('moka-pot', 20000, 3495, 'EUR'),
            -- For two orders that want the same piece at the same moment.
            ('last-one', 1, 9900, 'EUR'),
            -- For an order that is refused.
            ('sold-out', 0, 4200, 'EUR')
        """
    )
