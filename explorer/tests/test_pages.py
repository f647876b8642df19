"""The page and its files: served as they are, kept to themselves, without a trace."""

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from explorer.pages import FOLDER
from gateway.settings import GatewaySettings

FILES = sorted(path.name for path in FOLDER.iterdir())


async def test_the_page_takes_everything_from_its_own_origin(client: httpx.AsyncClient) -> None:
    """The policy names nothing but 'self', and the page cannot be framed."""
    answer = await client.get("/")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == "'none'"
    assert {policy.pop(name) for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert policy == {f"{kind}-src": "'self'" for kind in ("script", "style", "img", "connect")}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
async def test_each_file_of_the_page_is_served_once_for_each_change(client: httpx.AsyncClient, name: str) -> None:
    """A browser that has the file is told so."""
    answer = await client.get(f"/explorer/{name}")

    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get(f"/explorer/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["", "page", "mount.py", "..%2fmount.py", "%2e%2e/mount.py", "style.css/", "no.js"])
async def test_nothing_beside_the_page_is_served(client: httpx.AsyncClient, name: str) -> None:
    """The names are those that were there at the start."""
    answer = await client.get(f"/explorer/{name}")

    assert (answer.status_code, answer.json()["reason"]) == (404, "NO_SUCH_PATH")


async def test_the_page_and_what_it_is_made_of_make_no_trace(
    client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    """The newest traces are orders."""
    for path in ("/", "/explorer/style.css", "/explorer/settings", "/explorer/source?path=gateway/app.py"):
        assert (await client.get(path)).status_code == 200
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("path", ["/", "/explorer/style.css", "/explorer/settings", "/explorer/replicas"])
async def test_the_explorer_is_only_read(client: httpx.AsyncClient, path: str) -> None:
    """What changes something goes to the API itself."""
    answer = await client.post(path, content=b"{}")

    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


async def test_the_page_is_told_what_no_trace_says(client: httpx.AsyncClient, settings: GatewaySettings) -> None:
    """Where the traces are, what is in them, and who hears an event."""
    answer = await client.get("/explorer/settings")

    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["traces"] == {
        "page": settings.trace_url_template,
        "store": "embedded",
        "sampleRatio": 1.0,
        "async": "parent",
        "exported": True,
        "decisionSeconds": 90.0,
    }
    assert told["heardBy"]["shop.order.v1.OrderCancelled"] == ["inventory.shipping", "payment.refunds"]
    assert told["heardBy"]["shop.order.v1.OrderPlaced"] == []


def test_the_page_is_small() -> None:
    """All of its files together: who reads it has read it in an afternoon, and who opens it waits for nothing."""
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 150_000
