"""Whether there will be traces at all is asked of the telemetry of a process that is set up as the gateway is."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
from chassis import providers
from explorer.settings import are_exported
from gateway.settings import GatewaySettings
settings = GatewaySettings()
flush = providers.configure("gateway", settings)
print(are_exported(settings))
flush()
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "True"),
        ({"OTEL_SDK_DISABLED": "false"}, "True"),
        ({"OTEL_SDK_DISABLED": "true"}, "False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "False"),
        # It samples nothing, but what is sampled elsewhere goes somewhere.
        ({"TRACE_SAMPLE_RATIO": "0"}, "True"),
    ],
)
def test_spans_go_nowhere_without_an_address_or_with_the_sdk_off(environment: dict[str, str], expected: str) -> None:
    """As the variables of the process say it."""
    surroundings = {**os.environ, "PYTHONPATH": ".:protos/generated", **environment}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=surroundings, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == expected
