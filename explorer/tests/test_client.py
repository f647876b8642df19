"""Every question has bounds: how long it may take, how much may come back, how many are open."""

import asyncio

import pytest
from aiohttp import web

from chassis.testing import eventually
from explorer.client import QUESTIONS_MAX, Away, Client, TooLarge
from explorer.tests.slow_server import serving


async def never() -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def test_no_more_than_sixteen_questions_are_open_at_once() -> None:
    """What comes beyond waits for a place, and then has its answer."""
    may_answer = asyncio.Event()

    async def answer() -> web.Response:
        await may_answer.wait()
        return web.Response(text="yes")

    async with serving(answer) as server, Client() as client:
        asking = [asyncio.create_task(client.get(f"http://{server.address}/")) for _ in range(2 * QUESTIONS_MAX)]
        await eventually(lambda: server.open == QUESTIONS_MAX)
        may_answer.set()
        assert {answer.body for answer in await asyncio.gather(*asking)} == {b"yes"}
        assert (server.open_max, server.asked) == (QUESTIONS_MAX, 2 * QUESTIONS_MAX)


async def test_who_does_not_answer_in_time_is_away() -> None:
    """So is who is behind so many others that its turn does not come: nothing is asked for it."""
    async with serving(never) as server, Client() as client:
        url = f"http://{server.address}/"
        with pytest.raises(Away):
            await client.get(url, seconds_max=0.05)
        asked = server.asked
        before = [asyncio.create_task(client.get(url)) for _ in range(QUESTIONS_MAX)]
        await eventually(lambda: server.asked == asked + QUESTIONS_MAX)
        with pytest.raises(Away):
            await client.get(url, seconds_max=0.05)
        assert server.asked == asked + QUESTIONS_MAX
        for asking in before:
            asking.cancel()
        await asyncio.wait(before)


async def test_an_answer_is_not_read_beyond_its_bound() -> None:
    """Whether or not its size was said before."""

    async def answer() -> web.Response:
        return web.Response(body=b"x" * 1001)

    async with serving(answer) as server:
        async with Client(bytes_max=1001) as client:
            assert len((await client.get(f"http://{server.address}/")).body) == 1001
        async with Client(bytes_max=1000) as client:
            with pytest.raises(TooLarge):
                await client.get(f"http://{server.address}/")


async def test_nobody_is_sent_elsewhere() -> None:
    """The addresses are settings, not what an answer says."""

    async def answer() -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:9/")

    async with serving(answer) as server, Client() as client:
        assert (await client.get(f"http://{server.address}/")).status == 302
