"""Source lines: of the files on the list alone, whatever a request calls them."""

from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.source import ROOT
from explorer.sources import listed
from gateway.tests.upstream import Upstream


@pytest.mark.parametrize("path", ["services/order/saga.py", "chassis/relay.py", "infra/card_network/app.py"])
async def test_a_file_that_spans_lead_to_is_served_as_text(client: httpx.AsyncClient, path: str) -> None:
    """Line numbers are those of the file."""
    answer = await client.get("/explorer/source", params={"path": path})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.content == (ROOT / path).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".env",
        ".env.example",
        "compose.yaml",
        "README.md",
        "infra/local/parts.py",
        "cli/rest.py",
        "services/order/saga.py/",
        "./services/order/saga.py",
        "services/order/../order/saga.py",
        "../services/order/saga.py",
        str(ROOT / "services/order/saga.py"),
        "/etc/passwd",
        "services/order/saga.py\0",
        "services\\order\\saga.py",
        "services/order/tests/test_saga.py",
        "chassis/testing.py",
        "explorer/page/index.html",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    """A path is looked up in the list, so that only its own spelling is known."""
    answer = await client.get("/explorer/source", params={"path": path})

    assert (answer.status_code, answer.json()["reason"]) == (404, "NO_SUCH_SOURCE")


async def test_what_spans_name_is_on_the_list(
    client: httpx.AsyncClient, upstream: Upstream, spans: InMemorySpanExporter
) -> None:
    """The spans of a request lead to files that are served; the service behind this gateway is a test's."""
    await client.get(f"/v1/orders/{upstream.place()}")

    named = {str((span.attributes or {}).get("code.file.path", "")) for span in spans.get_finished_spans()}
    named -= {"", "gateway/tests/upstream.py"}
    assert "gateway/routes.py" in named
    for path in named:
        assert (await client.get("/explorer/source", params={"path": path})).status_code == 200


def test_the_list_holds_programs_and_no_link(tmp_path: Path) -> None:
    """What was put there as a link to somewhere else is not a program's file."""
    (tmp_path / "services" / "order" / "tests").mkdir(parents=True)
    (tmp_path / "services" / "order" / "saga.py").write_text("")
    (tmp_path / "services" / "order" / "tests" / "test_saga.py").write_text("")
    (tmp_path / "services" / "order" / "away.py").symlink_to("/etc/passwd")
    (tmp_path / "secret.py").write_text("")

    assert list(listed(tmp_path)) == ["services/order/saga.py"]
