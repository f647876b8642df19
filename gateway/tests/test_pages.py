"""Where a person arrives: what the pages lead to, and what somebody who lost the way is told."""

import re

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.mark.parametrize("page", ["/", "/docs"])
async def test_everything_that_a_page_leads_to_is_there(client: httpx.AsyncClient, page: str) -> None:
    answer = await client.get(page)

    assert answer.status_code == 200
    found = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(found) >= 2
    for address in found:
        assert (await client.get(address)).status_code == 200, address


async def test_the_viewer_draws_from_data_and_takes_the_rest_from_here(
    client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    answer = await client.get("/docs")

    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
    assert "img-src 'self' data:;" in answer.headers["content-security-policy"]
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("path", ["/v1/nothing", "/docs/assets/nothing.js", "/index.html"])
async def test_somebody_who_lost_the_way_is_told_where_to_look(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["reason"]) == (404, "NO_SUCH_PATH")
    named = [word.rstrip(".,") for word in answer.json()["detail"].split() if word.startswith("/")]
    assert named == [path, "/", "/docs"]
    for address in named[1:]:
        assert (await client.get(address)).status_code == 200
