"""Ends every child when the runner is gone, however it went.

runner ──pipe──▶ guardian (a shell, leads the process group of all children)
   ✗ killed        its input ends: it ends the group, and itself
"""

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

from infra.local.part import send_signal

# The runner holds the only other end of the shell's input, so `read` fails when the runner is gone, even if killed.
# Each line names the processes that stand still then: they would hear nothing, and not all are in the group.
# The children are asked first, so that the database can give back its shared memory.
# Without the runner the group is an orphaned one: if a process of it stands still then, the kernel sends HUP to all.
# INT and QUIT a terminal may send, and PIPE comes from complaining to a reader that is gone too.
_LAST_WILL = """
trap '' HUP INT QUIT PIPE TERM
frozen=
while read -r line; do frozen=$line; done
[ -z "$frozen" ] || kill -CONT $frozen
kill -TERM 0
sleep 2
rm -rf -- "$@"
kill -KILL 0
"""


class Guardian:
    """Start every child with `process_group=guardian.group`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, *leftovers: Path) -> "Guardian":
        """`leftovers` are the folders that nobody but the runner would remove."""
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _LAST_WILL, "guardian", *leftovers, stdin=asyncio.subprocess.PIPE, process_group=0
        )
        return cls(process)

    @property
    def group(self) -> int:
        return self._process.pid

    def note_frozen(self, pids: Iterable[int]) -> None:
        """These stand still now, and no others: whatever ends the runner, they are woken before they are ended."""
        if self._process.stdin is not None:
            self._process.stdin.write((" ".join(map(str, pids)) + "\n").encode())

    async def dismiss(self) -> None:
        """To be called when no child is left."""
        send_signal(self._process, signal.SIGKILL)
        await self._process.wait()

    async def end_children(self) -> None:
        """Ends them as if the runner were gone, and removes the leftovers; it does so even if nobody waits for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
