"""The tables that the chassis' patterns keep in each service's own database."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from chassis.reader import SECRET

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


def outbox(metadata: MetaData) -> Table:
    """Events promised to the world, delivered or not yet."""
    return Table(
        "outbox",
        metadata,
        Column("id", Uuid, primary_key=True, comment="the event's id on Kafka"),
        Column("topic", Text, nullable=False),
        Column("subject", Text, nullable=False, comment="the aggregate: an order's id"),
        Column("sequence", BigInteger, nullable=False, comment="the aggregate's version"),
        Column("type", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", Text, nullable=False),
        Column("tracestate", Text, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("published_at", DateTime(timezone=True)),
        UniqueConstraint("subject", "sequence"),
        Index("ix_outbox_unpublished", "subject", "sequence", postgresql_where=text("published_at IS NULL")),
        # The relay takes each aggregate's lowest version; whoever counts, or asks for the oldest, reads by time.
        Index("ix_outbox_unpublished_created_at", "created_at", postgresql_where=text("published_at IS NULL")),
        Index("ix_outbox_published", "published_at", postgresql_where=text("published_at IS NOT NULL")),
    )


def relay_lease(metadata: MetaData) -> Table:
    """Who sends the outbox now; exactly one row."""
    return Table(
        "relay_lease",
        metadata,
        Column("name", Text, primary_key=True),
        Column("holder", Uuid),
        Column("fence", BigInteger, nullable=False, server_default="0"),
        Column("until", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    )


def inbox(metadata: MetaData) -> Table:
    """Events that a consumer group has applied."""
    return Table(
        "inbox",
        metadata,
        Column("consumer_group", Text, nullable=False),
        Column("message_id", Uuid, nullable=False),
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        PrimaryKeyConstraint("consumer_group", "message_id"),
        Index("ix_inbox_received_at", "received_at"),
    )


def command_outbox(metadata: MetaData) -> Table:
    """Commands promised to other services and not accepted yet."""
    return Table(
        "command_outbox",
        metadata,
        Column("id", Uuid, primary_key=True, comment="derived from saga and step: the same at every attempt"),
        Column("saga_id", Text, nullable=False),
        Column("step", Text, nullable=False),
        Column("direction", Text, nullable=False),
        Column("attempt", Integer, nullable=False, server_default="1", comment="how often the saga sent it"),
        Column("method", Text, nullable=False, comment="/package.Service/Method"),
        # Whatever one service tells another alone, such as a card token.
        Column("payload", LargeBinary, nullable=False, info=SECRET),
        Column("traceparent", Text, nullable=False),
        Column("tracestate", Text, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0", comment="how often it was called"),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("next_attempt_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        # What is due for one service is found however much waits for another.
        Index("ix_command_outbox_target", text("split_part(method, '/', 2)"), "next_attempt_at"),
        Index("ix_command_outbox_saga_id", "saga_id"),
        Index("ix_command_outbox_created_at", "created_at"),
    )
