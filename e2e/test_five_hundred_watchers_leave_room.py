"""Streams have places of their own: however many watch, a customer who wants something is served at once."""

import asyncio
import time
from urllib.parse import urlsplit

from e2e.conftest import Shop

WATCHERS = 500


async def test_an_order_is_cancelled_beside_five_hundred_watchers(shop: Shop) -> None:
    """As many as the gateway takes, on its one connection to the order service; each is told, and its stream ends."""
    placed = await shop.place()
    order_id = placed["orderId"]
    await shop.ended(order_id)
    watchers = await asyncio.gather(*(watch(shop, order_id) for _ in range(WATCHERS)))
    began = time.monotonic()
    answer = await shop.client.post(f"/v1/orders/{order_id}:cancel", json={})
    took_seconds = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    assert took_seconds <= 1
    async with asyncio.timeout(20):
        told = await asyncio.gather(*(reader.read() for reader, _ in watchers))
    for _, writer in watchers:
        writer.close()
    assert all(b"shop.order.v1.OrderCancelled" in each for each in told)


async def watch(shop: Shop, order_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream that has told what there is until now; on a socket of its own, which costs this test little."""
    gateway = urlsplit(shop.system.gateway_url)
    reader, writer = await asyncio.open_connection(gateway.hostname, gateway.port)
    writer.write(
        f"GET /v1/orders/{order_id}:watch HTTP/1.1\r\nHost: shop\r\nAccept: application/x-ndjson\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        said = await reader.readuntil(b"OrderConfirmed")
    assert said.startswith(b"HTTP/1.1 200"), said
    return reader, writer
