"""The life of a process: it begins with right settings, is ready when it can work, and ends in good order."""

import asyncio
import json
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE
from asyncio.subprocess import Process as Child
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from structlog.testing import capture_logs

from chassis import process as life
from chassis import telemetry
from chassis.process import Process, ProcessFailed
from chassis.settings import ProcessSettings
from chassis.testing import eventually
from conftest import free_port


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans by OTLP, as a trace store does."""

    def __init__(self) -> None:
        self.received: list[ResourceSpans] = []
        self.port = 0

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.received.extend(request.resource_spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def names(self) -> list[str]:
        return [span.name for found in self.received for scope in found.scope_spans for span in scope.spans]


@pytest.fixture
async def traces() -> AsyncIterator[Traces]:
    receiver, server = Traces(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    receiver.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield receiver
    await server.stop(0)


@asynccontextmanager
async def program(**environment: str) -> AsyncGenerator[Child]:
    """The program of program.py as a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chassis.tests.program",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={"PYTHONPATH": ".:protos/generated", "OTEL_EXPORTER_OTLP_ENDPOINT": "", **environment},
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def ended(child: Child) -> tuple[int, str, list[str]]:
    """Exit code, standard output and the lines of standard error; closes the process' input."""
    async with asyncio.timeout(20):
        output, errors = await child.communicate(b"")
    assert child.returncode is not None
    return child.returncode, output.decode(), errors.decode().splitlines()


async def status(port: int, path: str) -> int:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}{path}")).status_code
        except httpx.ConnectError:
            return 0


async def test_sigterm_finishes_the_work_in_hand_and_exits_with_0(traces: Traces) -> None:
    """Readiness fails at once, the loop ends what it has begun, every span is flushed, and the exit code is 0."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{traces.port}"
    async with program(
        MODE="works", ADMIN_PORT=str(port), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, TRACE_FLUSH_INTERVAL_MS="60000"
    ) as child:

        async def answers(path: str, code: int) -> bool:
            return await status(port, path) == code

        await eventually(lambda: answers("/readyz", 200), seconds_max=20)
        child.send_signal(signal.SIGTERM)
        await eventually(lambda: answers("/readyz", 503))
        assert await status(port, "/healthz") == 200
        assert child.returncode is None
        code, _, errors = await ended(child)
    assert code == 0
    assert traces.names() == ["work", "the work in hand"]
    assert [json.loads(line)["event"] for line in errors] == ["working", "finished"]


async def test_what_a_process_begins_with_is_no_garbage() -> None:
    """The collector does not look through the modules each time: there are far more of their objects than others."""
    async with program(MODE="counts", ADMIN_PORT=str(free_port())) as child:
        _, _, errors = await ended(child)
    [counted] = [said for line in errors if (said := json.loads(line))["event"] == "frozen"]
    assert counted["objects"] > 10 * counted["others"]


async def ready(port: int) -> str:
    """What /metrics says of readiness."""
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    except httpx.TransportError:
        return "no answer"
    [line] = [line for line in answer.text.splitlines() if line.startswith("shop_process_ready{")]
    return line.split()[-1]


async def test_readiness_is_a_figure_too() -> None:
    """Whoever watches figures alone sees a process that can take no work, before it is gone."""
    port = free_port()
    async with program(MODE="works", ADMIN_PORT=str(port)) as child:

        async def says(figure: str) -> bool:
            return await ready(port) == figure

        await eventually(lambda: says("1.0"), seconds_max=20)
        child.send_signal(signal.SIGTERM)
        await eventually(lambda: says("0.0"))
        await ended(child)


async def test_a_blocked_event_loop_is_not_ready() -> None:
    """The figures come from a thread of their own, so they have to ask the loop, and not for ever."""
    port = free_port()
    async with program(MODE="blocks", ADMIN_PORT=str(port)):

        async def says_no() -> bool:
            return await ready(port) == "0.0"

        await eventually(says_no, seconds_max=30)


async def test_a_trace_says_which_process_it_comes_from(traces: Traces) -> None:
    """Service, namespace, version and instance are on everything that a process exports."""
    async with program(
        MODE="ends", ADMIN_PORT=str(free_port()), OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{traces.port}"
    ) as child:
        await ended(child)
    resource = {entry.key: entry.value.string_value for entry in traces.received[0].resource.attributes}
    assert resource["service.name"] == "program"
    assert resource["service.namespace"] == "shop"
    assert resource["service.version"]
    assert resource["service.instance.id"]


@pytest.mark.parametrize(("mode", "reason"), [("ends", "loop ended early"), ("raises", "loop failed")])
async def test_a_loop_that_dies_ends_the_process(mode: str, reason: str) -> None:
    """A process that lost one of its loops is not half alive: it ends with 1 and says which one."""
    async with program(MODE=mode, ADMIN_PORT=str(free_port())) as child:
        code, _, errors = await ended(child)
    last = json.loads(errors[-1])
    assert code == 1
    assert last["event"] == "the process failed"
    assert f"ProcessFailed: {reason}" in last["exception"]


async def test_a_loop_that_will_not_end_is_cancelled_after_the_grace_period() -> None:
    """The wait for work in hand is bounded; the process then ends in good order all the same."""
    port = free_port()
    async with program(MODE="hangs", ADMIN_PORT=str(port), SHUTDOWN_GRACE_SECONDS="0.1") as child:

        async def is_ready() -> bool:
            return await status(port, "/readyz") == 200

        await eventually(is_ready, seconds_max=20)
        child.send_signal(signal.SIGTERM)
        code, _, errors = await ended(child)
    assert code == 0
    assert json.loads(errors[-1])["event"] == "cancelled after the grace period"
    assert json.loads(errors[-1])["loop"] == "loop"


async def test_a_loop_that_will_not_even_be_cancelled_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that one loop waits for keeps the process from its end, nor hides what another has failed of."""
    monkeypatch.setattr(life, "CANCEL_SECONDS_MAX", 0.05)
    process, answer, ended = Process(0.05), asyncio.Event(), asyncio.Event()

    async def clings() -> None:
        try:
            await process.stopping.wait()
            await answer.wait()
        finally:
            await answer.wait()
            ended.set()

    async def fails() -> None:
        await process.stopping.wait()
        raise LookupError

    process.stopping.set()
    with capture_logs() as logs:
        await process.supervise(clings=clings)
    assert not ended.is_set()
    left = [log["loop"] for log in logs if log["event"] == "left behind: it does not end although cancelled"]
    assert left == ["clings"]
    with pytest.raises(ProcessFailed, match="fails failed"):
        await process.supervise(clings=clings, fails=fails)
    answer.set()
    await ended.wait()


def test_a_process_ends_before_it_is_killed() -> None:
    """Whoever stops a service waits for longer than its loops may take, cancelled ones too."""
    [seconds] = re.findall(r"stop_grace_period: (\d+)s", Path("compose.yaml").read_text())
    assert ProcessSettings.model_fields["shutdown_grace_seconds"].default + life.CANCEL_SECONDS_MAX < int(seconds)


async def test_a_missing_setting_is_one_line_that_names_it() -> None:
    """Exit code 2, a line for each wrong setting, no stack trace, and no value repeated."""
    async with program(MODE="secret-mode") as child:
        code, output, errors = await ended(child)
    assert code == 2
    assert output == ""
    assert sorted(errors) == [
        "program: setting ADMIN_PORT: Field required",
        "program: setting MODE: Input should be 'works', 'ends', 'raises', 'hangs', 'blocks' or 'counts'",
    ]


async def test_a_taken_admin_port_is_a_clear_error() -> None:
    """The message names the setting and the port."""
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken, program(MODE="works", ADMIN_PORT=str(port)) as child:
        code, _, errors = await ended(child)
    assert code == 2
    assert errors == [
        f"program: setting ADMIN_PORT: port {port} on 127.0.0.1 is already taken; set ADMIN_PORT to a free one"
    ]


async def test_a_loop_that_ends_at_once_when_asked_to_has_not_failed() -> None:
    """However quickly the loops follow the wish to stop, it was a wish."""
    process = Process(1.0)

    async def loop() -> None:
        await process.stopping.wait()

    asyncio.get_running_loop().call_later(0, process.stopping.set)
    await process.supervise(first=loop, second=loop)


async def test_a_loop_that_fails_while_the_process_stops_is_reported() -> None:
    """An orderly end does not hide a failure on the way."""
    process = Process(1.0)

    async def loop() -> None:
        await process.stopping.wait()
        raise LookupError

    asyncio.get_running_loop().call_soon(process.stopping.set)
    with pytest.raises(ProcessFailed, match="loop failed"):
        await process.supervise(loop=loop)


async def test_the_other_loops_finish_when_one_dies() -> None:
    """What is in hand elsewhere is not torn off by the failure of one loop."""
    process, finished = Process(1.0), asyncio.Event()

    async def works() -> None:
        await process.stopping.wait()
        await asyncio.sleep(0)
        finished.set()

    async def dies() -> None:
        raise LookupError

    with pytest.raises(ProcessFailed, match="dies failed"):
        await process.supervise(works=works, dies=dies)
    assert finished.is_set()


async def test_a_loop_starts_from_an_empty_context() -> None:
    """A loop that was started inside a span does not stamp that trace on all its later work."""
    process, seen = Process(1.0), list[bool]()

    async def loop() -> None:
        seen.append(trace.get_current_span().get_span_context().is_valid)
        process.stopping.set()

    with telemetry.span("a request"):
        await process.supervise(loop=loop)
    assert seen == [False]


async def test_readiness_names_the_checks_that_fail() -> None:
    """Each failing check is named with its reason; none failing is ready; a process that stops is not."""
    process = Process(1.0)
    database_is_up = False

    async def database() -> None:
        if not database_is_up:
            raise ConnectionError("refused")

    async def other() -> None:
        return None

    process.ready_when("database", database)
    process.ready_when("other", other)
    assert await process.failing() == {"database": "ConnectionError: refused"}
    database_is_up = True
    assert await process.failing() == {}
    process.stopping.set()
    assert await process.failing() == {"process": "stopping"}


async def test_readiness_is_answered_in_time_whatever_hangs() -> None:
    """Checks run side by side; one that will not even be cancelled holds up no answer, today's or the next."""
    process, never = Process(1.0), asyncio.Event()

    async def hangs() -> None:
        await never.wait()

    async def clings() -> None:
        while not never.is_set():
            with suppress(asyncio.CancelledError):
                await never.wait()

    async def works() -> None:
        return None

    for name, check in {"first": hangs, "second": clings, "third": hangs, "works": works}.items():
        process.ready_when(name, check)
    for _ in range(2):
        began = time.monotonic()
        assert await process.failing() == dict.fromkeys(("first", "second", "third"), "no answer within 1.5 s")
        assert time.monotonic() - began < 2
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "check second"]) == 1
    never.set()
    assert await process.failing() == {}


async def test_a_probe_is_answered_within_two_seconds_while_the_event_loop_is_stuck() -> None:
    """Whoever asks is another process, which gives up after three seconds."""
    port = free_port()
    async with program(MODE="blocks", ADMIN_PORT=str(port)):

        async def is_answered() -> bool:
            began = time.monotonic()
            return await status(port, "/readyz") == 503 and time.monotonic() - began < 2

        await eventually(is_answered, seconds_max=30)
