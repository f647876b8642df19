"""What the members of a process report: the lag of their partitions, and the keys that wait.

A name can be given to one instrument only, so all members of the process share it.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Observation

from chassis import telemetry


class Member(Protocol):
    """What is asked of a consumer."""

    def lag(self) -> Iterable[Observation]:
        """How many messages of each of its partitions are not applied; nothing of one that has brought none yet."""
        ...

    def keys_waiting(self) -> Observation:
        """How many keys wait."""
        ...

    def waiting_seconds(self) -> Observation:
        """For how long the key has waited that has waited longest."""
        ...


members: set[Member] = set()


def _each(ask: Callable[[Member], Observation]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: [ask(member) for member in tuple(members)]


def _lag(_options: CallbackOptions) -> Iterable[Observation]:
    for member in tuple(members):
        yield from member.lag()


telemetry.meter.create_observable_gauge(
    "shop.consumer.lag",
    callbacks=[_lag],
    description="Messages on Kafka that the group has not applied, by topic and partition.",
)
telemetry.meter.create_observable_gauge(
    "shop.consumer.waiting_keys",
    callbacks=[_each(lambda member: member.keys_waiting())],
    description="Keys whose first message cannot be applied now, by group; the log names them.",
)
telemetry.meter.create_observable_gauge(
    "shop.consumer.waiting_age",
    unit="s",
    callbacks=[_each(lambda member: member.waiting_seconds())],
    description="For how long the key has waited that has waited longest, by group.",
)
