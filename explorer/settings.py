"""What the explorer takes from its environment, and what of it the page has to know."""

from pathlib import Path
from typing import Any, Final, Literal

from opentelemetry import trace
from pydantic import Field, field_validator

from catalogue import HEARD_BY, UNDONE_BY
from chassis.settings import ProcessSettings
from chassis.source import ROOT

# A part's `host:port`; with a name every replica behind it is asked.
_ADMIN: Final = "Where `/metrics` of each of its replicas is, as host:port; empty, it is not asked."


class ExplorerSettings(ProcessSettings):
    """The explorer's own settings beside those of every process."""

    trace_url_template: str = Field(
        "http://127.0.0.1:16686/trace/{trace_id}", description="Where a person reads a trace."
    )
    trace_store_url: str = Field("http://127.0.0.1:16686", description="Where the trace store answers queries.")
    trace_store: Literal["embedded", "memory", "badger", "tail-sampling"] = Field(
        "memory", description="What it is: the embedded store, or Jaeger by the name of its configuration."
    )
    trace_decision_seconds: float = Field(
        90.0,
        gt=0,
        description="With `tail-sampling`, when a trace is judged: the `decision_wait` of its configuration.",
    )
    gateway_admin_address: str = Field("127.0.0.1:9101", description=_ADMIN)
    order_admin_address: str = Field("127.0.0.1:9102", description=_ADMIN)
    payment_admin_address: str = Field("127.0.0.1:9103", description=_ADMIN)
    inventory_admin_address: str = Field("127.0.0.1:9104", description=_ADMIN)
    card_network_admin_address: str = Field("127.0.0.1:9105", description=_ADMIN)
    source_folder: Path = Field(ROOT, description="Below it are the files that spans lead to, as text.")

    @field_validator("trace_url_template")
    @classmethod
    def _names_the_trace(cls, template: str) -> str:
        if template.replace("{trace_id}", "").count("{") or "{trace_id}" not in template:
            raise ValueError("must contain {trace_id}, and no other brace")
        return template

    @property
    def admin_addresses(self) -> dict[str, str]:
        """The parts whose replicas are asked for their figures, and where."""
        named = {
            "gateway": self.gateway_admin_address,
            "order": self.order_admin_address,
            "payment": self.payment_admin_address,
            "inventory": self.inventory_admin_address,
            "card-network": self.card_network_admin_address,
        }
        return {name: address for name, address in named.items() if address}


def are_exported(settings: ExplorerSettings) -> bool:
    """Whether spans go anywhere: there is an address for them, and OTEL_SDK_DISABLED has not turned the SDK off."""
    is_off = isinstance(trace.get_tracer_provider().get_tracer("shop"), trace.NoOpTracer)
    return bool(settings.otel_exporter_otlp_endpoint) and not is_off


def for_the_page(settings: ExplorerSettings) -> dict[str, Any]:
    """What the page cannot see in a trace: where it comes from, and what will be in it."""
    return {
        "traces": {
            "page": settings.trace_url_template,
            "store": settings.trace_store,
            "sampleRatio": settings.trace_sample_ratio,
            "async": settings.trace_async,
            "exported": are_exported(settings),
            "decisionSeconds": settings.trace_decision_seconds,
        },
        "heardBy": HEARD_BY,
        "undoneBy": UNDONE_BY,
    }
