"""A library that says the same again and again is heard once a second, and how often it said so is not lost."""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest
import structlog

from chassis import kafka, logs
from chassis.kafka import Producer
from chassis.log_throttle import SUPPRESSED, LogThrottle
from chassis.settings import ProcessSettings, ServiceSettings
from chassis.testing import eventually
from chassis.tests.surroundings import Broker, Topic, event, send


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Heard(logging.Handler):
    """Keeps what reaches it, with the time of each record."""

    def __init__(self, throttle: LogThrottle | None = None) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []
        if throttle is not None:
            self.addFilter(throttle)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def left_out(self) -> list[int]:
        return [getattr(record, SUPPRESSED, 0) for record in self.records]


def record(text: object, *arguments: object, level: int = logging.ERROR, name: str = "aiokafka") -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, text, arguments, None)


def test_a_text_passes_once_a_second_whatever_its_arguments_and_says_how_many_were_left_out() -> None:
    clock = Clock()
    heard = Heard(LogThrottle(clock))
    for number, seconds in enumerate((0.0, 0.4, 0.5, 0.2, 0.8)):
        clock.now += seconds
        heard.handle(record("no connection to node %s", number))
    assert heard.messages() == ["no connection to node 0", "no connection to node 3"]
    assert heard.left_out() == [0, 2]


def test_after_a_pause_nothing_is_said_to_be_left_out() -> None:
    clock = Clock()
    heard = Heard(LogThrottle(clock))
    for _ in range(3):
        heard.handle(record("no connection"))
        clock.now += 1.0
    assert heard.left_out() == [0, 0, 0]


def test_texts_are_told_apart_by_logger_level_and_wording() -> None:
    """One that floods hides no other."""
    heard = Heard(LogThrottle(Clock()))
    for _ in range(2):
        heard.handle(record("away"))
        heard.handle(record("gone"))
        heard.handle(record("away", level=logging.WARNING))
        heard.handle(record("away", name="aiokafka.consumer"))
        heard.handle(record(OSError("away")))
    assert len(heard.records) == 4


def test_our_own_records_and_what_debug_shows_always_pass() -> None:
    """Our records bear what they concern in fields, not in their text; who asks for DEBUG wants everything."""
    heard = Heard(LogThrottle(Clock()))
    heard.setLevel(logging.DEBUG)
    for _ in range(3):
        heard.handle(record({"event": "order confirmed"}, name="services.order"))
        heard.handle(record("fetching", level=logging.DEBUG))
    assert len(heard.records) == 6


def test_no_more_than_a_bound_of_texts_is_remembered() -> None:
    """A library that writes values into its texts takes no memory without end: the oldest text is forgotten first."""
    clock = Clock()
    throttle = LogThrottle(clock)
    heard = Heard(throttle)
    for number in range(10_000):
        heard.handle(record(f"{number} " + "x" * 10_000))
    assert len(heard.records) == 10_000
    assert sum(len(text) for _, _, text in throttle._said) < 60_000  # pyright: ignore[reportPrivateUsage] - its memory is what is tested
    heard.handle(record("0 " + "x" * 10_000))
    assert len(heard.records) == 10_001


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """As it was, afterwards."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
    structlog.contextvars.clear_contextvars()


def test_what_was_left_out_stands_in_the_log(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The handler that a process installs has the filter, for loggers of any depth, and writes the number."""
    clock = Clock()
    logs.configure("order", ProcessSettings(admin_port=1))
    [throttle] = root_logger.handlers[0].filters
    monkeypatch.setattr(throttle, "_clock", clock)
    for seconds in (0.0, 0.1, 0.1, 1.0):
        clock.now += seconds
        logging.getLogger("aiokafka.consumer.fetcher").error("Failed fetch messages from %s", 1)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert SUPPRESSED not in first
    assert second[SUPPRESSED] == 2
    assert second["event"] == "Failed fetch messages from 1"


async def test_an_outage_of_kafka_writes_each_text_once_a_second(
    topic: Topic, producer: Producer, settings: ServiceSettings, broker: Broker
) -> None:
    """Clients that were connected complain a hundred times a second; each text passes once, and the rest is counted."""
    library = logging.getLogger("aiokafka")
    every, passed = Heard(), Heard(LogThrottle())
    await send(producer, topic, event("a"))
    member = kafka.consumer(settings, f"{topic}.group")
    member.subscribe([topic.name])
    await member.start()
    await member.getone()
    library.addHandler(every)
    library.addHandler(passed)
    broker.down()
    try:
        sent = asyncio.ensure_future(producer.send_and_wait(topic.name, b"", key=b"a"))
        # The fourth time that some text passes: the clients have complained for three seconds.
        await eventually(lambda: max(map(len, by_text(passed).values()), default=0) >= 4, seconds_max=30)
    finally:
        broker.up()
        library.removeHandler(every)
        library.removeHandler(passed)
    # A client that is stopped while it waits for its next try raises; both are well again first.
    await asyncio.gather(sent, member.getone())
    await member.stop()
    said = by_text(every)
    for text, records in by_text(passed).items():
        times = [found.created for found in records]
        assert all(after - before > 0.99 for before, after in pairwise(times)), text
        counted = sum(1 + getattr(found, SUPPRESSED, 0) for found in records)
        assert counted == len([found for found in said[text] if found.created <= times[-1]]), text
    assert len(every.records) > 10 * len(passed.records)


def by_text(heard: Heard) -> dict[tuple[str, int, str], list[logging.LogRecord]]:
    found: defaultdict[tuple[str, int, str], list[logging.LogRecord]] = defaultdict(list)
    for each in heard.records:
        found[each.name, each.levelno, str(each.msg)].append(each)
    return found
