"""Places an order with the package that openapi-python-client generates, and prints how it ends."""

import json
import sys
import time
from uuid import UUID

from shop_client import Client
from shop_client.api.order_service import get_order, place_order
from shop_client.models import Order, OrderLineInput, OrderStatus, PlaceOrderBody, Problem

PATIENCE_SECONDS = 30.0
POLL_INTERVAL_SECONDS = 0.1


def good(answer: Order | Problem | None) -> Order:
    if not isinstance(answer, Order):
        raise SystemExit(f"no order, but {answer}")
    return answer


def placed(client: Client) -> Order:
    lines = [OrderLineInput(sku="espresso-beans", quantity=2)]
    body = PlaceOrderBody(customer_id="ada", card_token="tok_visa", lines=lines)
    return good(place_order.sync(client=client, body=body))


def ended(client: Client, order_id: UUID) -> Order:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        order = good(get_order.sync(order_id, client=client))
        if order.status is not OrderStatus.PENDING:
            return order
        time.sleep(POLL_INTERVAL_SECONDS)
    raise SystemExit(f"order {order_id} is still pending")


with Client(base_url=sys.argv[1]) as shop:
    print(json.dumps(ended(shop, placed(shop).order_id).to_dict()))  # noqa: T201 - its one output
