"""Where a person arrives: the start page, what it leads to, and what somebody who lost the way is told."""

import re

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.mark.parametrize("page", ["/", "/docs"])
async def test_everything_that_a_page_leads_to_is_there(client: httpx.AsyncClient, page: str) -> None:
    answer = await client.get(page)

    assert answer.status_code == 200
    found = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(found) >= 4
    for address in found:
        assert (await client.get(address)).status_code == 200, address


async def test_the_start_page_runs_no_script_and_makes_no_trace(
    client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    answer = await client.get("/")

    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("path", ["/v1/nothing", "/docs/assets/nothing.js", "/index.html"])
async def test_somebody_who_lost_the_way_is_told_where_to_look(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["reason"]) == (404, "NO_SUCH_PATH")
    named = [word.rstrip(".,") for word in answer.json()["detail"].split() if word.startswith("/")]
    assert named == [path, "/", "/docs"]
    for address in named[1:]:
        assert (await client.get(address)).status_code == 200
