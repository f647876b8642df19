"""The shop in containers, as `compose.yaml` describes it, on free ports and under a project name of its own.

async with System() as system: …      docker compose up, from building the images to all healthy, and down again
"""

import asyncio
import contextlib
import json
import logging
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import docker
from testcontainers.compose import DockerCompose

from infra.local.probes import free_ports
from infra.system import Usage

ROOT = Path(__file__).resolve().parent.parent.parent
PUBLISHED = ("GATEWAY_PORT", "CARD_NETWORK_PORT", "KAFKA_PORT", "JAEGER_PORT", "PROMETHEUS_PORT")
POLL_SECONDS = 0.1

_HOST = "127.0.0.1"


class SystemFailed(Exception):
    """Docker or compose refused; the message holds what it said."""


class System:
    """One project of `docker compose`; names of parts are those of `compose.yaml`.

    Args:
        settings: variables of `.env.example` beside the ports.
        replicas: how many of each service, one unless told.
        profiles: of `compose.yaml`, such as metrics.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        replicas: Mapping[str, int] | None = None,
        profiles: tuple[str, ...] = (),
    ) -> None:
        ports = dict(zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True))
        self.project = f"shop-{ports['GATEWAY_PORT']}"
        self.gateway_url = f"http://{_HOST}:{ports['GATEWAY_PORT']}"
        self.traces_url = f"http://{_HOST}:{ports['JAEGER_PORT']}"
        self.card_network_url = f"http://{_HOST}:{ports['CARD_NETWORK_PORT']}"
        self.prometheus_url = f"http://{_HOST}:{ports['PROMETHEUS_PORT']}"
        self.kafka = f"{_HOST}:{ports['KAFKA_PORT']}"
        self._replicas = dict(replicas or {})
        self._environment = {"COMPOSE_PROJECT_NAME": self.project, **{k: str(v) for k, v in ports.items()}}
        self._environment |= settings or {}
        self._profiles = list(profiles)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a `docker compose` about this project needs beside ours: its name, its ports, its settings."""
        return self._environment

    async def __aenter__(self) -> "System":
        # The library logs what a failed command said; the error says it too.
        logging.getLogger("testcontainers").setLevel(logging.CRITICAL)
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-")))
            file = folder / ".env"
            file.write_text("".join(f"{name}={value}\n" for name, value in self._environment.items()))
            self._compose = DockerCompose(ROOT, env_file=str(file), profiles=self._profiles, build=True)
            stack.push_async_callback(self._stop)
            try:
                await asyncio.to_thread(self._compose.start)
            except subprocess.CalledProcessError as error:
                raise SystemFailed(await self._story(error)) from error
            if self._replicas:
                await self.scale(**self._replicas)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _stop(self) -> None:
        await asyncio.to_thread(self._compose.stop)

    async def _story(self, error: subprocess.CalledProcessError) -> str:
        """What compose said last, and the last words of every container."""
        said = error.stderr.decode(errors="replace").strip().splitlines()[-3:]
        return "\n".join([*said, await self.logs()])

    async def compose(self, *arguments: str) -> str:
        """What a command of `docker compose` prints about this project."""
        return await command(*self._compose.docker_compose_command(), *arguments)

    async def scale(self, **replicas: int) -> None:
        """Run so many of each service; the others stay as they are."""
        self._replicas |= replicas
        counts = [f"--scale={name}={count}" for name, count in self._replicas.items()]
        await self.compose("up", "--detach", "--wait", "--no-recreate", *counts)

    async def ids(self, name: str) -> list[str]:
        """The containers of a part, the oldest first, whether they run or not."""
        labels = (f"label=com.docker.compose.project={self.project}", f"label=com.docker.compose.service={name}")
        filters = [argument for label in labels for argument in ("--filter", label)]
        found = (await command("docker", "ps", "--all", "--quiet", "--no-trunc", *filters)).split()
        if not found:
            raise SystemFailed(f"there is no container of {name}")
        return found[::-1]

    async def restarted(self) -> list[str]:
        """The parts that ended by themselves, so that the engine started them again; not those that were killed."""
        containers = (await self.compose("ps", "--all", "--quiet")).split()
        service = '{{index .Config.Labels "com.docker.compose.service"}}'
        counts = await command("docker", "inspect", "--format", service + " {{.RestartCount}}", *containers)
        return sorted(line.split()[0] for line in counts.splitlines() if not line.endswith(" 0"))

    async def logs(self) -> str:
        """The last words of every container."""
        return await self.compose("logs", "--no-color", "--tail", "15")

    def search(self, service: str, tags: Mapping[str, str], operation: str = "") -> tuple[str, dict[str, Any]]:
        # By HTTP, Jaeger's v3 ignores attributes; this is the API that its own search page uses.
        now = datetime.now(UTC)
        return "/api/traces", {
            "service": service,
            "operation": operation,
            "tags": json.dumps(tags),
            "start": _microseconds(now - timedelta(hours=1)),
            "end": _microseconds(now + timedelta(minutes=1)),
            "limit": 20,
        }

    async def kill(self, name: str) -> None:
        await self.crash(name)
        await self.recover(name)

    async def crash(self, name: str) -> None:
        """SIGKILL without a restart: the engine takes a kill by command for a wish that it should stay so."""
        await command("docker", "kill", (await self.ids(name))[0])

    async def recover(self, name: str) -> None:
        """Start what was killed again."""
        await command("docker", "start", (await self.ids(name))[0])

    async def stop(self, name: str) -> None:
        await self.compose("stop", name)

    async def start(self, name: str) -> None:
        await self.compose("start", name)
        await self.ready(name)

    async def ready(self, name: str) -> None:
        # Docker looks at a container's health in rounds; asked directly it is known at once.
        for container in await self.ids(name):
            checked = json.loads(
                await command("docker", "inspect", "--format", "{{json .Config.Healthcheck}}", container)
            )
            if checked is None:
                continue
            check = checked["Test"][1:]
            while not await succeeds("docker", "exec", container, *check):  # noqa: ASYNC110 - no event
                await asyncio.sleep(POLL_SECONDS)

    async def pause(self, name: str) -> None:
        await command("docker", "pause", *await self.ids(name))

    async def resume(self, name: str) -> None:
        await command("docker", "unpause", *await self.ids(name))

    async def freeze(self, name: str) -> None:
        """Let one replica stand still, the oldest, and the others go on."""
        await command("docker", "pause", (await self.ids(name))[0])

    async def thaw(self, name: str) -> None:
        """Let the one that stands still go on."""
        await command("docker", "unpause", (await self.ids(name))[0])

    async def usage(self) -> dict[str, Usage]:
        return await asyncio.to_thread(self._usage)

    def _usage(self) -> dict[str, Usage]:
        used: dict[str, Usage] = {}
        with contextlib.closing(docker.from_env()) as engine:
            for container in engine.containers.list(filters={"label": f"com.docker.compose.project={self.project}"}):
                stats = cast(dict[str, Any], container.stats(stream=False, one_shot=True))
                name = container.labels["com.docker.compose.service"]
                before = used.get(name, Usage(0.0, 0))
                memory = stats["memory_stats"]
                # What `docker stats` shows: files that the kernel could drop are nobody's need.
                cache = memory["stats"].get("inactive_file", memory["stats"].get("total_inactive_file", 0))
                used[name] = Usage(
                    before.cpu_seconds + stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
                    before.memory_bytes + memory["usage"] - cache,
                )
        return used


async def command(*arguments: str) -> str:
    """What a command prints.

    Raises:
        SystemFailed: it ended with an error; the message is the end of what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise SystemFailed(f"{' '.join(arguments)}: {errors.decode(errors='replace').strip()[-2000:]}")
    return output.decode()


async def succeeds(*arguments: str) -> bool:
    """Whether a command ends well."""
    try:
        await command(*arguments)
    except SystemFailed:
        return False
    return True


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
