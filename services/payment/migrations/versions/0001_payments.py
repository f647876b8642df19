"""Payments, their ledger with its laws, and the tables of the chassis' patterns."""

from alembic import op

revision = "0001"
down_revision = None

_PAYMENTS = """
    CREATE TABLE payments (
        payment_id uuid NOT NULL,
        order_id text NOT NULL,
        state text NOT NULL,
        amount_minor bigint,
        currency_code text,
        card_token text,
        decline_code text,
        version bigint NOT NULL DEFAULT 0,
        refund_requested_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        traceparent text NOT NULL,
        tracestate text NOT NULL,
        attempt_traceparent text NOT NULL DEFAULT '',
        attempt_tracestate text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_payments PRIMARY KEY (payment_id),
        CONSTRAINT uq_payments_order_id UNIQUE (order_id),
        CONSTRAINT ck_payments_state CHECK (state IN ('CHARGING', 'CHARGED', 'DECLINED', 'REFUNDED', 'VOIDED')),
        CONSTRAINT ck_payments_amount CHECK ((amount_minor IS NULL) = (currency_code IS NULL)),
        CONSTRAINT ck_payments_amount_minor CHECK (amount_minor >= 0),
        CONSTRAINT ck_payments_tombstone CHECK (amount_minor IS NOT NULL OR state = 'VOIDED'),
        CONSTRAINT ck_payments_card_token CHECK ((card_token IS NOT NULL) = (state = 'CHARGING')),
        CONSTRAINT ck_payments_open CHECK (
            (next_attempt_at IS NOT NULL)
            = (state = 'CHARGING' OR (state = 'CHARGED' AND refund_requested_at IS NOT NULL)))
    )
"""
_LEDGER_ENTRIES = """
    CREATE TABLE ledger_entries (
        payment_id uuid NOT NULL,
        posting text NOT NULL,
        account text NOT NULL,
        amount_minor bigint NOT NULL,
        currency_code text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_ledger_entries PRIMARY KEY (payment_id, posting, account),
        CONSTRAINT fk_ledger_entries_payment_id FOREIGN KEY (payment_id) REFERENCES payments (payment_id),
        CONSTRAINT ck_ledger_entries_posting CHECK (posting IN ('charge', 'refund')),
        CONSTRAINT ck_ledger_entries_account CHECK (account IN ('card_network', 'customer_payments'))
    )
"""
# Every statement adds whole postings, or nothing: then all of them sum to zero at any time.
_REFUSE_UNBALANCED = """
    CREATE FUNCTION refuse_unbalanced_postings() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM added GROUP BY payment_id, posting, currency_code HAVING sum(amount_minor) <> 0) THEN
            RAISE EXCEPTION 'the entries of a posting must sum to zero' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END $$
"""
_LEDGER_BALANCES = """
    CREATE TRIGGER refuse_unbalanced_postings AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced_postings()
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
# What the running service changes about a payment; whose it is and how much it is about stay as they were written.
_MUTABLE = (
    "state, card_token, decline_code, version, refund_requested_at, attempts, next_attempt_at, traceparent, "
    "tracestate, attempt_traceparent, attempt_tracestate, updated_at"
)
_STATEMENTS = (
    _PAYMENTS,
    _LEDGER_ENTRIES,
    _REFUSE_UNBALANCED,
    _LEDGER_BALANCES,
    _OUTBOX,
    _RELAY_LEASE,
    _INBOX,
    "CREATE INDEX ix_payments_next_attempt_at ON payments (next_attempt_at) WHERE next_attempt_at IS NOT NULL",
    "CREATE INDEX ix_outbox_unpublished ON outbox (subject, sequence) WHERE published_at IS NULL",
    "CREATE INDEX ix_outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL",
    "CREATE INDEX ix_inbox_received_at ON inbox (received_at)",
    "COMMENT ON COLUMN payments.payment_id IS 'also the idempotency key at the card network'",
    "COMMENT ON COLUMN payments.amount_minor IS 'null on a tombstone'",
    "COMMENT ON COLUMN payments.currency_code IS 'null on a tombstone'",
    "COMMENT ON COLUMN payments.card_token IS 'erased once the charge is settled'",
    "COMMENT ON COLUMN payments.version IS 'counts published events'",
    "COMMENT ON COLUMN payments.refund_requested_at IS 'since when somebody wants the money back'",
    "COMMENT ON COLUMN payments.attempts IS 'of the open charge or refund'",
    "COMMENT ON COLUMN payments.next_attempt_at IS 'null when nothing is open; also the end of a lease'",
    "COMMENT ON COLUMN payments.traceparent IS 'where the open charge or refund hangs'",
    "COMMENT ON COLUMN payments.attempt_traceparent IS 'the last attempt without answer'",
    "COMMENT ON COLUMN ledger_entries.amount_minor IS 'a debit is positive, a credit negative'",
    "COMMENT ON COLUMN outbox.id IS 'the event''s id on Kafka'",
    "COMMENT ON COLUMN outbox.subject IS 'the aggregate: an order''s id'",
    "COMMENT ON COLUMN outbox.sequence IS 'the aggregate''s version'",
    "INSERT INTO relay_lease (name) VALUES ('outbox')",
    "REVOKE UPDATE, DELETE ON ledger_entries FROM payment",
    "REVOKE UPDATE, DELETE ON payments FROM payment",
    f"GRANT UPDATE ({_MUTABLE}) ON payments TO payment",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
