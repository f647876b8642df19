"""What is not there is 204 for the page, with the reason in headers, and a problem for everybody else."""

from urllib.parse import unquote

import httpx
import pytest

from gateway.tests.upstream import UNKNOWN_ORDER

PAGE = {"shop-absent": "204"}
NO_TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "path", [f"/explorer/v1/orders/{UNKNOWN_ORDER}", f"/explorer/traces/{NO_TRACE}", "/explorer/source?path=.env"]
)
async def test_the_page_is_told_why_something_is_not_there(client: httpx.AsyncClient, path: str) -> None:
    """Reason, status and detail are those of the problem that others get."""
    problem = (await client.get(path)).json()
    answer = await client.get(path, headers=PAGE)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["shop-absent"] == problem.get("reason", problem["code"])
    assert answer.headers["shop-absent-status"] == str(problem["status"]) == "404"
    assert unquote(answer.headers["shop-absent-detail"]) == problem["detail"]


async def test_what_is_there_and_what_is_wrong_stay_as_they_are(client: httpx.AsyncClient) -> None:
    """A page that asks for nonsense has a fault, which its console may show."""
    assert (await client.get("/explorer/v1/orders", headers=PAGE)).json()["orders"] == []
    assert (await client.get("/explorer/traces/nonsense", headers=PAGE)).status_code == 400


async def test_the_api_itself_knows_no_such_wish(client: httpx.AsyncClient) -> None:
    """An order that nobody placed is 404 there, whatever the headers."""
    assert (await client.get(f"/v1/orders/{UNKNOWN_ORDER}", headers=PAGE)).status_code == 404
