"""The Monitor page gets its numbers from Prometheus, and nothing else depends on Prometheus."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.jaeger.tests.container import METRICS, Jaeger, until
from infra.local.tests.sample_spans import TRACE_ID, export, sample_exports, span

pytestmark = pytest.mark.docker
OPERATION = "shop.order.v1.OrderService/PlaceOrder"
SCRAPE = f"""
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: spans, static_configs: [{{targets: ["jaeger:{METRICS}"]}}]}}]
"""


def test_rates_errors_and_durations_arrive(tmp_path: Path) -> None:
    """Spans are counted by Jaeger, scraped by Prometheus, and asked for by Jaeger."""
    scrape = tmp_path / "prometheus.yml"
    scrape.write_text(SCRAPE)
    prometheus: dict[str, Any] = {
        "image": "prom/prometheus:v2.53.3",
        "volumes": [f"{scrape}:/etc/prometheus/prometheus.yml:ro"],
        "networks": {"default": {"aliases": ["prometheus"]}},
    }
    changed = "connectors::spanmetrics::metrics_flush_interval: 1s"
    with Jaeger(tmp_path, "memory", changed, beside={"prometheus-of-the-test": prometheus}) as jaeger:

        def measured(question: str, **parameters: str) -> float:
            # A rate is a difference, so spans have to come for as long as it is asked for.
            served = span(OPERATION, "00f067aa0ba902b7", took_us=40_000, kind=Span.SPAN_KIND_SERVER)
            jaeger.send(export("order", "test", served))
            window = {"lookback": "60000", "step": "1000", "ratePer": "60000"}
            answer = jaeger.monitor(question, service="order", groupByOperation="true", **window, **parameters)
            if answer.status_code != 200:
                return 0.0
            series = [metric for metric in answer.json()["metrics"] if labels(metric)["operation"] == OPERATION]
            values = [point["gaugeValue"].get("doubleValue", 0) for one in series for point in one["metricPoints"]]
            return next((value for value in reversed(values) if isinstance(value, float | int) and value > 0), 0.0)

        assert until(lambda: measured("calls"), "no rate came") > 0
        assert 25 <= until(lambda: measured("latencies", quantile="0.95"), "no duration came") <= 50
        assert jaeger.monitor("errors", service="order").status_code == 200


def test_without_prometheus_only_the_monitor_page_fails(tmp_path: Path) -> None:
    """It fails at once, and traces are taken in and found as ever."""
    with Jaeger(tmp_path, "memory") as jaeger:
        answer = jaeger.monitor("calls", service="order")
        assert answer.status_code == 500
        assert answer.elapsed.total_seconds() < 5
        jaeger.send(*sample_exports())
        assert jaeger.until_kept(TRACE_ID)
        assert jaeger.search("order")


def labels(metric: dict[str, Any]) -> dict[str, str]:
    return {label["name"]: label["value"] for label in metric["labels"]}
