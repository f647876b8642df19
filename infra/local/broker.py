"""A Kafka broker in memory, as a process of its own: librdkafka's mock cluster, from the library that a wheel brings.

    python -m infra.local.broker

It listens on a port of its own choice and says which in its first line, a JSON object. Then it takes a command a line
on standard input, `down` (drop every connection and refuse new ones) or `up`, and answers each with a line. It ends
when standard input does, so that it never outlives whoever started it.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import IO, Any

# What consumers ask for, and get in full: the mock broker holds an empty fetch for the whole of its wait, even when a
# message comes. With half of it the idle system uses half as much CPU again.
FETCH_WAIT_MS_MAX = 100

_PRODUCER = 0
_BROKER_ID = 1
_ERROR_BYTES = 512


class BrokerFailed(Exception):
    """The library is missing or refused."""


class MockBroker:
    """One broker of librdkafka's mock cluster; topics come to be on first use, with 4 partitions."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(library_path()))
        new_cluster = self._function("rd_kafka_mock_cluster_new", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        self._cluster = new_cluster(self._client(), 1)
        if not self._cluster:
            raise BrokerFailed("librdkafka made no mock cluster")
        # A group has one member here, so nobody has to wait for others to join.
        set_join_delay = self._function(
            "rd_kafka_mock_group_initial_rebalance_delay_ms", None, ctypes.c_void_p, ctypes.c_int32
        )
        set_join_delay(self._cluster, 0)

    @property
    def bootstrap_servers(self) -> str:
        bootstraps = self._function("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, ctypes.c_void_p)
        return bootstraps(self._cluster).decode()

    def set_down(self) -> None:
        self._switch("rd_kafka_mock_broker_set_down")

    def set_up(self) -> None:
        self._switch("rd_kafka_mock_broker_set_up")

    def set_leader(self, topic: str, partition: int, broker_id: int) -> None:
        """Let a broker lead the partition, or nobody: -1."""
        lead = self._function(
            "rd_kafka_mock_partition_set_leader",
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_int32,
        )
        if error := lead(self._cluster, topic.encode(), partition, broker_id):
            raise BrokerFailed(f"rd_kafka_mock_partition_set_leader answered {error}")

    def _client(self) -> int:
        """The mock cluster lives inside a client, which itself connects nowhere."""
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        new_configuration = self._function("rd_kafka_conf_new", ctypes.c_void_p)
        configure = self._function(
            "rd_kafka_conf_set",
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
        )
        new_client = self._function(
            "rd_kafka_new", ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        )
        configuration = new_configuration()
        # Errors only: the client would warn that it has no broker to connect to.
        configure(configuration, b"log_level", b"3", error, len(error))
        client = new_client(_PRODUCER, configuration, error, len(error))
        if not client:
            raise BrokerFailed(error.value.decode())
        return client

    def _switch(self, name: str) -> None:
        error = self._function(name, ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)(self._cluster, _BROKER_ID)
        if error:
            raise BrokerFailed(f"{name} answered {error}")

    def _function(self, name: str, result: Any, *arguments: Any) -> Any:
        function = self._library[name]
        function.restype = result
        function.argtypes = arguments
        return function


def library_path() -> Path:
    """Where the wheel of confluent-kafka keeps librdkafka: beside the package on Linux, inside it on macOS."""
    package = importlib.util.find_spec("confluent_kafka")
    if package is None or package.origin is None:
        raise BrokerFailed("confluent-kafka is not installed; the broker is part of its wheel")
    folder = Path(package.origin).parent
    found = [
        *folder.parent.glob("confluent_kafka.libs/librdkafka*"),
        *folder.glob(".dylibs/librdkafka*"),
    ]
    if not found:
        raise BrokerFailed(f"no librdkafka in {folder} or beside it")
    return found[0]


def serve(commands: IO[str], answers: IO[str]) -> None:
    broker = MockBroker()
    _say(answers, bootstrap_servers=broker.bootstrap_servers)
    for line in commands:
        match line.strip():
            case "down":
                broker.set_down()
                _say(answers, is_up=False)
            case "up":
                broker.set_up()
                _say(answers, is_up=True)
            case command:
                _say(answers, error=f"unknown command: {command}")


def _say(answers: IO[str], **fields: Any) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
