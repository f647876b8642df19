"""Batches as no proper client sends them, and the way to put them on a partition, byte for byte."""

import struct
from collections.abc import Callable, Sequence

from aiokafka import TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from chassis import messages
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.tests.surroundings import Topic

HEADER_BYTES = 61
ATTRIBUTES_AT, LAST_DELTA_AT, COUNT_AT = 21, 23, 57
NOW_MS = 1_700_000_000_000

Change = Callable[[bytearray], None]


def batch(*events: Envelope, headers: Sequence[tuple[str, bytes | None]] = ()) -> bytearray:
    """A batch of these events as the library makes one, each with these headers more."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2**24)
    for number, sent in enumerate(events):
        builder.append(number, NOW_MS, sent.key, sent.payload, [*messages.headers(sent), *headers])
    return bytearray(builder.build())


def sealed(raw: bytes | bytearray) -> bytes:
    """With a length and a checksum that hold."""
    made = bytearray(raw)
    struct.pack_into(">i", made, 8, len(made) - 12)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


def compressed(raw: bytearray, codec: int, content: bytes) -> bytes:
    """The same batch, its records replaced by what claims to be their compressed form."""
    made = raw[:HEADER_BYTES] + content
    struct.pack_into(">h", made, ATTRIBUTES_AT, codec)
    return sealed(made)


def number(value: int) -> bytes:
    """A variable-length number of a record."""
    value = (value << 1) ^ (value >> 63)
    encoded = b""
    while value > 0x7F:
        encoded, value = encoded + bytes([value & 0x7F | 0x80]), value >> 7
    return encoded + bytes([value])


def record(content: bytes) -> bytes:
    """With its length in front."""
    return number(len(content)) + content


async def put(producer: Producer, topic: Topic, batch: bytes, partition: int = 0) -> int:
    """Have the broker store these bytes; returns the offset that they begin at."""
    client = producer.client.client
    await client._wait_on_metadata(topic.name)  # pyright: ignore[reportPrivateUsage] - makes the topic
    leader = client.cluster.leader_for_partition(TopicPartition(topic.name, partition))
    answer = await client.send(leader, ProduceRequest(None, -1, 5_000, [(topic.name, [(partition, batch)])]))
    [(_, [(_, error, offset, *_)])] = answer.topics
    assert error == 0, f"the broker answers {error}"
    return offset
