"""The control socket: who connects may break a part, which stays broken as long as the connection lives.

{"break": "order", "how": "stop"} ─▶ {"ok": true}                  … until the client closes it, or dies: healed
                                   ─▶ {"error": "state", "why": …}
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from infra.local.broken_parts import Impossible, NotNow

_REQUEST_SECONDS = 5.0
# The path of a socket has room for about a hundred characters, and its own folder takes some.
_FOLDER_LENGTH_MAX = 70

Broken = Callable[[str, str], AbstractAsyncContextManager[None]]


class Control:
    """`serve` once the system runs, `close` before it ends; the folder is made at once, and is the caller's to remove.

    Args:
        broken: what breaks a part, by its name and how.
    """

    def __init__(self, broken: Broken) -> None:
        # Nobody else may enter a folder that mkdtemp has made.
        too_long = len(tempfile.gettempdir()) > _FOLDER_LENGTH_MAX
        self.folder = Path(tempfile.mkdtemp(prefix="shop-", dir="/tmp" if too_long else None))  # noqa: S108 - see above
        self.path = self.folder / "control"
        self._broken = broken
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def serve(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, self.path)

    async def close(self) -> None:
        """Ends the connections, and with them what their clients have broken."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def remove(self) -> None:
        # After an interrupted end the guardian removes it too, maybe at this moment.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Somebody who is gone, or says nothing: what they broke is healed by now, and nobody is left to tell.
            with contextlib.suppress(OSError, TimeoutError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_REQUEST_SECONDS):
            name, how = _asked(await reader.readline())
        try:
            async with self._broken(name, how):
                _write(writer, {"ok": True})
                while await reader.read(1024):
                    pass
        except Impossible as error:
            _write(writer, {"error": "impossible", "why": str(error)})
        except NotNow as error:
            _write(writer, {"error": "state", "why": str(error)})


def _asked(line: bytes) -> tuple[str, str]:
    """The part and the way; of a line that is no request, what `Broken` refuses by name."""
    with contextlib.suppress(ValueError):
        match json.loads(line):
            case {"break": str(name), "how": str(how)}:
                return name, how
            case _:
                pass
    return line.decode(errors="replace").strip(), "nothing"


def _write(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
