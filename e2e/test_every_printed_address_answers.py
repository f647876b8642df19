"""A person who follows an address that the shop prints finds something there."""

import re
from pathlib import Path
from typing import Any

import httpx

from e2e.conftest import Shop, embedded, eventually
from infra.local.system import System as Embedded

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
IN_README = sorted(set(re.findall(r"http://127\.0\.0\.1:8080(/[\w/.:-]*)", README)))


async def test_an_order_names_itself_and_its_trace(shop: Shop) -> None:
    """The answer's Location is the order; its Link is a page about its trace, once the spans have arrived."""
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    answer = await shop.client.post("/v1/orders", json=body)
    order = answer.json()
    # Two readings of an order that still moves may differ.
    await shop.ended(order["orderId"])
    assert await shop.get(answer.headers["location"]) == await shop.order(order["orderId"])
    trace_url = answer.headers["link"].removeprefix("<").removesuffix('>; rel="trace"')
    assert order["traceId"] in trace_url

    async def shown() -> bool:
        return (await shop.client.get(trace_url)).status_code == 200

    await eventually(shown, f"{trace_url} answers")


async def test_somebody_who_lost_the_way_is_led_back(shop: Shop) -> None:
    """A 404 names two addresses, and both are there."""
    answer = await shop.client.get("/v1/nothing")
    assert answer.status_code == 404
    named = re.findall(r"(?<= )/\S*?(?=[.,]? )", answer.json()["detail"])
    assert named == ["/v1/nothing", "/", "/docs"]
    for address in ("/", "/docs"):
        assert (await shop.client.get(address)).status_code == 200


async def test_what_the_readme_sends_to_the_gateway_is_there(shop: Shop) -> None:
    """Each address that can be asked for; to cancel is a POST, which the README's commands prove."""
    order = await shop.place()
    await shop.ended(order["orderId"])
    asked = [address for address in IN_README if not address.endswith(":cancel")]
    assert len(asked) >= 6
    for address in asked:
        # A stream stays open: its head is the answer.
        async with shop.client.stream("GET", address.replace("ORDER_ID", order["orderId"])) as response:
            assert response.status_code == 200, address


@embedded
async def test_what_make_status_prints_is_there(system: Embedded) -> None:
    """Every process shows its metrics where it says."""
    state: dict[str, Any] = system.state()
    pages = [page for part in state["parts"] for page in re.findall(r"metrics (http://\S+)", part["address"])]
    assert len(pages) == 5
    async with httpx.AsyncClient() as client:
        for page in (*pages, state["gateway_url"]):
            assert (await client.get(page)).status_code == 200, page
