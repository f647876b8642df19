"""Each shipped configuration starts, takes spans in, gives them back, and counts them."""

from pathlib import Path

import pytest

from infra.jaeger.tests.container import METRICS, Jaeger, until
from infra.local.tests.sample_spans import OTHER_TRACE_ID, TRACE_ID, export, sample_exports, span

pytestmark = pytest.mark.docker
ONE_ORDER = ["INSERT orders", "POST /v1/orders", "PlaceOrder", "PlaceOrder", "create order.events OrderPlaced"]


# The shipped wait is for sagas; a third of these spans failed, so tail sampling keeps them.
@pytest.mark.parametrize(
    ("configuration", "changed"),
    [("memory", ""), ("badger", ""), ("tail-sampling", "processors::tail_sampling::decision_wait: 1s")],
)
def test_spans_come_back(tmp_path: Path, configuration: str, changed: str) -> None:
    """What OTLP brought is found by the trace's id, by service, and by the order's id."""
    with Jaeger(tmp_path, configuration, changed) as jaeger:
        jaeger.send(*sample_exports())
        assert sorted(jaeger.until_kept(TRACE_ID)) == ONE_ORDER
        assert set(ONE_ORDER) <= set(jaeger.search("gateway"))
        assert jaeger.search_by_tag("gateway", {"shop.order.id": "order-1"}) == [TRACE_ID]
        assert jaeger.search_by_tag("gateway", {"shop.order.id": "order-9"}) == []


def test_every_configuration_starts_as_it_is_shipped(tmp_path: Path) -> None:
    """Nothing of the tail sampling's file is changed here."""
    with Jaeger(tmp_path, "tail-sampling"):
        pass


def test_badger_keeps_traces_over_a_kill(tmp_path: Path) -> None:
    """Files of a killed Jaeger are read by the next container, and the user of the image could write them."""
    with Jaeger(tmp_path, "badger") as jaeger:
        jaeger.send(*sample_exports())
        jaeger.until_kept(TRACE_ID)
        jaeger.kill()
        jaeger.up("--force-recreate")
        assert sorted(jaeger.spans(TRACE_ID)) == ONE_ORDER
        assert jaeger.search_by_tag("gateway", {"shop.order.id": "order-1"}) == [TRACE_ID]


def test_memory_forgets_the_oldest_traces(tmp_path: Path) -> None:
    """Beyond max_traces each new trace takes the place of the oldest."""
    changed = "extensions::jaeger_storage::backends::shop::memory::max_traces: 50"
    ids = [f"{number:032x}" for number in range(1, 61)]
    with Jaeger(tmp_path, "memory", changed) as jaeger:
        for trace_id in ids:
            jaeger.send(export("order", "test", span("relay outbox", "00f067aa0ba902b7", trace_id=trace_id)))
        assert [trace_id for trace_id in ids if jaeger.spans(trace_id)] == ids[10:]


def test_spans_are_counted_without_an_id_among_the_labels(tmp_path: Path) -> None:
    """Two replicas' spans make one series, and its labels are service, name, kind and status."""
    replicas = sample_exports()
    for number, request in enumerate(sample_exports()):
        for resource in request.resource_spans:
            instance = resource.resource.attributes.add(key="service.instance.id")
            instance.value.string_value = f"replica-{number}"
        replicas.append(request)
    with Jaeger(tmp_path, "memory", "connectors::spanmetrics::metrics_flush_interval: 1s") as jaeger:
        jaeger.send(*replicas)

        def counted_twice() -> list[str]:
            lines = jaeger.page(METRICS, "/metrics").splitlines()
            series = [line for line in lines if "calls_total{" in line and 'span_name="INSERT orders"' in line]
            return series if sum(int(line.split()[-1]) for line in series) == 2 else []

        (line,) = until(counted_twice, "the spans were not counted")
        assert 'service_name="order"' in line
        assert 'span_kind="SPAN_KIND_CLIENT"' in line
        assert 'status_code="STATUS_CODE_UNSET"' in line
        metrics = jaeger.page(METRICS, "/metrics")
        assert "order-1" not in metrics
        assert TRACE_ID not in metrics
        assert OTHER_TRACE_ID not in metrics
