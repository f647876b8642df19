"""PostgreSQL from a wheel, as a child of the runner with a folder of its own, with the shop's databases and roles."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.part import Part, Process, ownership
from infra.local.postgres_programs import (
    PostgresFailed,
    RootUnusable,
    copied,
    everybody_reaches,
    installed_programs,
    system_user,
)

SERVICES = ("order", "payment", "inventory")

_SUPERUSER = "postgres"
_DATABASES_SQL = Path(__file__).parent.parent / "postgres" / "databases.sql"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # The data lives for one start only, so nothing has to survive a crash of the machine.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "checkpoint_timeout": "1h",
    # Small, and asleep when nothing happens: no I/O workers, no replication launcher, rare wake-ups.
    "shared_buffers": "32MB",
    "max_connections": "100",
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "bgwriter_lru_maxpages": "0",
    "wal_writer_delay": "10s",
    "autovacuum_naptime": "60s",
    "jit": "off",
}


def _reader(service: str) -> str:
    return f"{service}_reader"


class Postgres:
    """One server: `initialise`, run its `part`, `create_databases`; in the end `remove`."""

    def __init__(self, port: int) -> None:
        """Makes its folder, empty, which is the caller's to `remove`; raises PostgresFailed and leaves none behind."""
        self.port = port
        self.user = system_user()
        # What another user runs may have to be a copy of these.
        self._installed = self._programs = installed_programs()
        self._passfile: Path | None = None
        # Last: what fails before leaves nothing.
        self.folder = Path(tempfile.mkdtemp(prefix="shop-postgres-"))
        self._data = self.folder / "data"
        self._superuser_password = secrets.token_urlsafe(24)
        self._passwords = {
            role: secrets.token_urlsafe(24)
            for service in SERVICES
            for role in (service, f"{service}_owner", _reader(service))
        }

    @property
    def command(self) -> tuple[str, ...]:
        settings = (f"--{name}={value}" for name, value in _SETTINGS.items())
        return (str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings)

    def part(self) -> Part:
        async def until_ready(process: Process) -> None:
            await self.until_ready(process.pid)

        return Part(
            name="postgres",
            address=f"127.0.0.1:{self.port}",
            command=self.command,
            until_ready=until_ready,
            user=self.user,
            # The system user may not be able to read the folder that the runner was started in.
            working_folder=self.folder,
            # Ends the sessions that are still open, where SIGTERM would wait for them.
            stop_signal=signal.SIGINT,
        )

    def database_url(self, service: str, role: str | None = None) -> str:
        """A service's database, as `role`: `<service>` unless told, or with `_owner` or `_reader` behind it."""
        role = role or service
        return f"postgresql+asyncpg://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{service}"

    def superuser_url(self, database: str = _SUPERUSER) -> str:
        """The URL by which a test makes a database of its own, or breaks one."""
        return f"postgresql+asyncpg://{_SUPERUSER}:{self._superuser_password}@127.0.0.1:{self.port}/{database}"

    async def initialise(self) -> None:
        if self.user is not None:
            self._give_folder_to(self.user)
        password_file = self.folder / "password"
        password_file.write_text(self._superuser_password)
        password_file.chmod(stat.S_IRUSR)
        if self.user is not None:
            shutil.chown(password_file, self.user)
        # fmt: off
        options = (
            "-D", str(self._data), "-U", _SUPERUSER, "--pwfile", str(password_file), "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--no-sync", "--no-data-checksums", "--wal-segsize=4",
        )
        # fmt: on
        await self._run("initdb", *options, user=self.user)
        password_file.unlink()

    async def until_ready(self, pid: int | None = None) -> None:
        """`pid` tells the server from an earlier one in the same folder, which was killed and could not say its end."""
        while not self._takes_connections(pid):  # noqa: ASYNC110 - another process writes the file, no event tells
            await asyncio.sleep(0.02)

    async def create_databases(self) -> None:
        environment = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": _SUPERUSER,
            "PGDATABASE": "postgres",
            "PGPASSWORD": self._superuser_password,
        } | {f"{role.upper()}_PASSWORD": password for role, password in self._passwords.items()}
        options = ("--no-psqlrc", "--quiet", "--file", str(_DATABASES_SQL))
        await self._run("psql", *options, environment=environment)

    def write_passfile(self, path: Path) -> None:
        """Lets the user who runs this, and nobody else, be a reader; `remove` takes the file away.

        Source of the format: libpq's documentation, "The Password File".
        """
        readers = {service: _reader(service) for service in SERVICES}
        path.unlink(missing_ok=True)
        # Made before it is written: it is never open to others, not even for a moment.
        path.touch(stat.S_IRUSR | stat.S_IWUSR, exist_ok=False)
        path.write_text(
            "".join(f"127.0.0.1:{self.port}:{name}:{role}:{self._passwords[role]}\n" for name, role in readers.items())
        )
        self._passfile = path

    def reading(self) -> dict[str, Any]:
        """How somebody on this machine runs psql as a reader: port, program, and the file with the passwords."""
        return {"port": self.port, "psql": str(self._installed / "psql"), "passfile": str(self._passfile)}

    def remove(self) -> None:
        if self._passfile is not None:
            self._passfile.unlink(missing_ok=True)
        # After an interrupted end the guardian removes it too, maybe at this moment.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _takes_connections(self, pid: int | None) -> bool:
        """The first line of the file is the server's process, the last its state. Source: PostgreSQL's `pidfile.h`."""
        with contextlib.suppress(FileNotFoundError):
            words = (self._data / "postmaster.pid").read_text().split()
            return words[-1:] == ["ready"] and (pid is None or words[0] == str(pid))
        return False

    def _give_folder_to(self, user: str) -> None:
        try:
            shutil.chown(self.folder, user)
        except OSError as error:
            raise RootUnusable(f"cannot give {self.folder} to {user}: {error.strerror}") from None
        # Here, and not wider permissions: root's own folders are not ours to open.
        if not everybody_reaches(self._programs):
            self._programs = copied(self._programs, self.folder)

    async def _run(
        self, program: str, *options: str, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            str(self._programs / program),
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment or {}),
            cwd=self.folder,
            process_group=0,
            **ownership(user),
        )
        try:
            output, _ = await process.communicate()
        finally:
            # Cancelled: it and what it started must not go on in a folder that is about to be removed.
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode != 0:
            raise PostgresFailed(f"{program} failed: {output.decode(errors='replace').strip()}")
