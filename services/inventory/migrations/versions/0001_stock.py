"""Stock, reservations, restocks, and the tables of the chassis' patterns."""

from alembic import op

revision = "0001"
down_revision = None

_STOCK = """
    CREATE TABLE stock (
        sku text COLLATE "C" NOT NULL,
        available bigint NOT NULL,
        held bigint NOT NULL DEFAULT 0,
        unit_price_minor bigint NOT NULL,
        currency_code text NOT NULL,
        CONSTRAINT pk_stock PRIMARY KEY (sku),
        CONSTRAINT ck_stock_sku CHECK (sku ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
        CONSTRAINT ck_stock_available CHECK (available >= 0),
        CONSTRAINT ck_stock_held CHECK (held >= 0),
        CONSTRAINT ck_stock_unit_price_minor CHECK (unit_price_minor BETWEEN 0 AND 1000000),
        CONSTRAINT ck_stock_currency_code CHECK (currency_code = 'EUR')
    )
"""
_RESERVATIONS = """
    CREATE TABLE reservations (
        order_id text NOT NULL,
        state text NOT NULL,
        version bigint NOT NULL DEFAULT 1,
        total_minor bigint,
        currency_code text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_reservations PRIMARY KEY (order_id),
        CONSTRAINT ck_reservations_state CHECK (state IN ('HELD', 'REFUSED', 'RELEASED', 'SHIPPED', 'RETURNED')),
        CONSTRAINT ck_reservations_total CHECK ((total_minor IS NULL) = (currency_code IS NULL)),
        CONSTRAINT ck_reservations_priced CHECK (total_minor IS NOT NULL OR state IN ('REFUSED', 'RELEASED'))
    )
"""
_RESERVATION_LINES = """
    CREATE TABLE reservation_lines (
        order_id text NOT NULL,
        sku text COLLATE "C" NOT NULL,
        quantity integer NOT NULL,
        unit_price_minor bigint NOT NULL,
        CONSTRAINT pk_reservation_lines PRIMARY KEY (order_id, sku),
        CONSTRAINT fk_reservation_lines_order_id FOREIGN KEY (order_id) REFERENCES reservations (order_id),
        CONSTRAINT fk_reservation_lines_sku FOREIGN KEY (sku) REFERENCES stock (sku),
        CONSTRAINT ck_reservation_lines_quantity CHECK (quantity > 0)
    )
"""
_RESTOCKS = """
    CREATE TABLE restocks (
        sku text COLLATE "C" NOT NULL,
        request_id text NOT NULL,
        request_fingerprint bytea NOT NULL,
        answer bytea,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_restocks PRIMARY KEY (sku, request_id),
        CONSTRAINT fk_restocks_sku FOREIGN KEY (sku) REFERENCES stock (sku)
    )
"""
_OUTBOX = """
    CREATE TABLE outbox (
        id uuid NOT NULL,
        topic text NOT NULL,
        subject text NOT NULL,
        sequence bigint NOT NULL,
        type text NOT NULL,
        payload bytea NOT NULL,
        traceparent text NOT NULL,
        tracestate text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        published_at timestamptz,
        CONSTRAINT pk_outbox PRIMARY KEY (id),
        CONSTRAINT uq_outbox_subject_sequence UNIQUE (subject, sequence)
    )
"""
_RELAY_LEASE = """
    CREATE TABLE relay_lease (
        name text NOT NULL,
        holder uuid,
        fence bigint NOT NULL DEFAULT 0,
        until timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_relay_lease PRIMARY KEY (name)
    )
"""
_INBOX = """
    CREATE TABLE inbox (
        consumer_group text NOT NULL,
        message_id uuid NOT NULL,
        received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_inbox PRIMARY KEY (consumer_group, message_id)
    )
"""
_STATEMENTS = (
    _STOCK,
    _RESERVATIONS,
    _RESERVATION_LINES,
    _RESTOCKS,
    _OUTBOX,
    _RELAY_LEASE,
    _INBOX,
    "CREATE INDEX ix_outbox_unpublished ON outbox (subject, sequence) WHERE published_at IS NULL",
    "CREATE INDEX ix_outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL",
    "CREATE INDEX ix_inbox_received_at ON inbox (received_at)",
    "COMMENT ON COLUMN stock.held IS 'reserved and not shipped yet'",
    "COMMENT ON COLUMN reservations.version IS 'counts published events'",
    "COMMENT ON COLUMN reservations.total_minor IS 'null unless stock was held'",
    "COMMENT ON COLUMN reservations.currency_code IS 'null unless stock was held'",
    "COMMENT ON COLUMN reservation_lines.unit_price_minor IS 'the price when the stock was held'",
    "COMMENT ON COLUMN restocks.request_fingerprint IS 'SHA-256 of the request without its id'",
    "COMMENT ON COLUMN restocks.answer IS 'the shop.inventory.v1.StockItem that was answered'",
    "COMMENT ON COLUMN outbox.id IS 'the event''s id on Kafka'",
    "COMMENT ON COLUMN outbox.subject IS 'the aggregate: an order''s id'",
    "COMMENT ON COLUMN outbox.sequence IS 'the aggregate''s version'",
    "INSERT INTO relay_lease (name) VALUES ('outbox')",
    # What the running service never does: name and price articles, forget reservations or requests, reprice a line.
    "REVOKE INSERT, DELETE ON stock FROM inventory",
    "REVOKE UPDATE ON stock FROM inventory",
    "GRANT UPDATE (available, held) ON stock TO inventory",
    "REVOKE DELETE ON reservations, restocks FROM inventory",
    "REVOKE UPDATE, DELETE ON reservation_lines FROM inventory",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
