"""Tail sampling keeps what somebody will ask about, one in ten of the rest, and sticks to its decisions."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from explorer.settings import ExplorerSettings
from infra.jaeger.tests.container import METRICS, ROOT, Jaeger, until
from infra.local.tests.sample_spans import export, span
from services.order.settings import OrderSettings

SHIPPED = (ROOT / "infra/jaeger/tail-sampling.yaml").read_text()
FAILED = Status(code=Status.STATUS_CODE_ERROR)
MINUTES_US = 5 * 60 * 1_000_000


def trace_id(name: str) -> str:
    """The same in every run, so that the same traces are one in ten."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def order(name: str, *, step: str = "saga reserve_stock", direction: str = "forward", **fields: Any) -> Any:
    """One span of an order's trace, as the dispatcher makes it."""
    attributes = {"shop.order.id": name, "shop.saga.direction": direction}
    return span(
        step, hashlib.sha256(step.encode()).hexdigest()[:16], trace_id=trace_id(name), attributes=attributes, **fields
    )


def exported(*spans: Any) -> ExportTraceServiceRequest:
    return export("order", "test", *spans)


@pytest.mark.docker
def test_what_matters_is_kept_and_one_in_ten_of_the_rest(tmp_path: Path) -> None:
    """Decisions are made on the whole trace, and hold for a span that comes later."""
    # Fewer traces at a time than are sent in all, so that only the caches can remember the first.
    changed = "processors::tail_sampling: {decision_wait: 2s, num_traces: 300}"
    with Jaeger(tmp_path, "tail-sampling", changed) as jaeger:
        plain = [f"plain {number}" for number in range(200)]
        jaeger.send(
            exported(*(order(name) for name in plain)),
            exported(order("failed"), order("failed", step="ReserveStock", status=FAILED)),
            exported(order("compensated"), order("compensated", step="saga release_stock", direction="compensate")),
            exported(order("cancelled"), order("cancelled", step="cancel confirmed order")),
            exported(order("slow"), order("slow", step="saga charge_payment", start_us=6_000_000)),
            exported(span("WatchOrder", "00f067aa0ba902b7", trace_id=trace_id("watched"), took_us=MINUTES_US)),
        )
        until_decided(jaeger, "first")
        for name in ("failed", "compensated", "cancelled", "slow"):
            assert len(jaeger.spans(trace_id(name))) == 2, name
        assert jaeger.spans(trace_id("watched")) == []
        kept = {name for name in plain if jaeger.spans(trace_id(name))}
        assert 10 <= len(kept) <= 30

        jaeger.send(exported(*(order(f"more {number}") for number in range(300))))
        until_decided(jaeger, "second")
        jaeger.send(exported(*(order(name, step="late", status=FAILED) for name in plain)))
        until_decided(jaeger, "third")
        assert {name for name in plain if "late" in jaeger.spans(trace_id(name))} == kept

        assert until(counts(jaeger, 'span_name="late"'), "no span was counted") == len(plain)


def until_decided(jaeger: Jaeger, name: str) -> None:
    """Wait for a failed trace: whatever was sent before it has been decided when it can be seen."""
    jaeger.send(exported(order(name, status=FAILED)))
    jaeger.until_kept(trace_id(name))


def counts(jaeger: Jaeger, label: str) -> Callable[[], int]:
    def counted() -> int:
        lines = jaeger.page(METRICS, "/metrics").splitlines()
        return sum(int(line.split()[-1]) for line in lines if "calls_total{" in line and label in line)

    return counted


def test_the_decision_waits_for_the_slowest_saga() -> None:
    """Both steps up to their deadlines, and each compensation sent a second time; the explorer says how long it is."""
    wait = re.search(r"decision_wait: (\d+)s\n", SHIPPED)
    assert wait is not None
    settings = OrderSettings.model_fields
    deadlines = settings["reserve_deadline_seconds"].default + settings["charge_deadline_seconds"].default
    assert int(wait[1]) == ExplorerSettings.model_fields["trace_decision_seconds"].default
    assert int(wait[1]) > deadlines + 2 * settings["compensation_retry_seconds"].default
