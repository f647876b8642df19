"""The servers of the contract tests are what they are taken for, break when told to, and leave nothing behind."""

import asyncio

import pytest
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

from chassis.testing import eventually
from chassis.tests import containers
from chassis.tests.containers import Containers, KafkaContainer
from chassis.tests.proxy import HOST, Proxy
from chassis.tests.surroundings import Broker, OwnDatabase


async def test_each_variant_runs_on_its_servers(
    containers: Containers | None, own_database: OwnDatabase, broker: Broker
) -> None:
    """`docker` in a test's name means PostgreSQL 17 and Apache Kafka in containers, `embedded` means neither."""
    version = await own_database.value("SELECT current_setting('server_version_num')::int / 10000")
    assert (version == 17, isinstance(broker, KafkaContainer)) == ((False,) * 2 if containers is None else (True,) * 2)


@pytest.mark.docker
def test_servers_that_are_not_ready_in_time_leave_no_container_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails cleans up after itself, and shows what the servers wrote."""
    monkeypatch.setattr(containers, "START_SECONDS_MAX", 0.01)
    before = ours()
    with pytest.raises(TimeoutError) as failed:
        Containers()
    assert len(failed.value.__notes__) == 2
    assert ours() == before


def ours() -> set[str]:
    """The containers that this session has made and not removed."""
    client = DockerClient().client
    try:
        found = client.containers.list(all=True, filters={"label": f"{LABEL_SESSION_ID}={SESSION_ID}"})
        return {str(container.id) for container in found}
    finally:
        client.close()


async def test_a_closed_port_drops_its_connections_and_refuses_new_ones() -> None:
    """An outage as the tests mean it; afterwards the same port takes connections again."""

    ended = 0

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        while line := await reader.readline():
            writer.write(line)
        await closed(writer)
        ended += 1

    async with await asyncio.start_server(echo, HOST, 0) as server:
        proxy = Proxy(server.sockets[0].getsockname()[1])
        try:
            reader, writer = await connected(proxy)
            proxy.down()
            assert await reader.read() == b""
            await closed(writer)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, proxy.port)
            proxy.up()
            _, writer = await connected(proxy)
            await closed(writer)
            await eventually(lambda: ended == 2)
        finally:
            proxy.close()


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the echo on which a line has gone there and back."""
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"line\n")
    assert await reader.readline() == b"line\n"
    return reader, writer


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()
