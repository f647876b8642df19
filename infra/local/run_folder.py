"""The runner's folder: who runs the system now, what it says about it, and where the logs are."""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.1


class AlreadyRuns(Exception):
    """Another runner holds the folder."""


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.log_path = path / "runner.log"
        self._lock_path = path / "runner.lock"
        self._state_path = path / "state.json"
        path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def claimed(self) -> Generator[None]:
        """Holds the folder for this process; the lock goes with the process, however that ends."""
        with self._lock_path.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRuns(f"the system runs already, as process {self.runner()}; end it with: stop") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield
            finally:
                self.forget_state()

    def runner(self) -> int | None:
        """The process that holds the folder, if one does."""
        with self._lock_path.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                return int(lock.read())
        return None

    async def until_released(self) -> None:
        while self.runner() is not None:  # noqa: ASYNC110 - another process holds it, no event tells
            await asyncio.sleep(_POLL_SECONDS)

    def write_state(self, state: dict[str, Any]) -> None:
        draft = self._state_path.with_suffix(".draft")
        draft.write_text(json.dumps(state, indent=2))
        draft.replace(self._state_path)

    def forget_state(self) -> None:
        """A runner that was killed left its own behind."""
        self._state_path.unlink(missing_ok=True)

    def read_state(self) -> dict[str, Any] | None:
        """What the runner wrote last; None until the system is complete."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads(self._state_path.read_text())
        return None
