"""What one caller can hold of a gRPC server: how long without a message, and how many calls on one connection."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

FIRST_MESSAGE_SECONDS_MAX = 10.0
# The gateway's 500 unary calls and 500 streams fit. What a client has beyond waits on its own side, or is refused
# before anybody has seen it (RFC 9113: SETTINGS_MAX_CONCURRENT_STREAMS, REFUSED_STREAM).
CALLS_OF_A_CONNECTION_MAX = 1_200
# A client needs one to watch a server's health, and one to ask it what it offers.
WATCHES_OF_A_CONNECTION_MAX = 50


# The package's types do not know it.
_EOF: Any = vars(grpc.aio)["EOF"]


class NoRequest(Exception):
    """A call ends before it has asked anything; the text says why."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def too_late() -> NoRequest:
    """The first message has not come."""
    return NoRequest(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message came within {FIRST_MESSAGE_SECONDS_MAX:g} s")


def is_end(message: Any) -> bool:
    """Whether this stands for the end of the messages."""
    return message is _EOF


async def first_message(context: Any) -> Message | NoRequest:
    """The one request of a call that has one, or why there is none."""
    left = context.time_remaining()
    try:
        if left is not None and left <= FIRST_MESSAGE_SECONDS_MAX:
            # gRPC itself ends what has outlived the caller's deadline: most calls need no timer.
            message = await context.read()
        else:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS_MAX):
                message = await context.read()
    except TimeoutError:
        return too_late()
    except DecodeError:
        return NoRequest(grpc.StatusCode.INVALID_ARGUMENT, "the request does not decode")
    if is_end(message):
        return NoRequest(grpc.StatusCode.UNIMPLEMENTED, "the call brought no request, and has to bring one")
    return message


class Incoming:
    """The requests of a call that has many, each checked when it is read.

    The first one is waited for from the beginning, whatever the servicer does meanwhile: it may be the one to speak
    first.

    Args:
        came: called when the first message has come, or the caller has said that there is none.
        check: raises for a message that is to end the call.
    """

    def __init__(self, context: Any, came: Callable[[], None], check: Callable[[Message], None]) -> None:
        self._context, self._came, self._check = context, came, check
        self._first: asyncio.Task[Any] | None = asyncio.create_task(self._read_first())

    async def _read_first(self) -> Any:
        message = await self._context.read()
        self._came()
        return message

    async def read(self) -> Any:
        """The next one, or EOF, as the context of a call gives it."""
        first, self._first = self._first, None
        try:
            message = await (first or self._context.read())
        except DecodeError:
            raise NoRequest(grpc.StatusCode.INVALID_ARGUMENT, "a request does not decode") from None
        if not is_end(message):
            self._check(message)
        return message

    def __aiter__(self) -> "Incoming":
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if is_end(message):
            raise StopAsyncIteration
        return message

    async def close(self) -> None:
        """Nobody reads any more."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)


class ReadingContext:
    """The context of a call whose servicer reads by itself: what it reads is checked too."""

    def __init__(self, context: Any, incoming: Incoming) -> None:
        self._context, self.read = context, incoming.read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class Places:
    """Counts the calls of some kind that are open on each connection.

    Args:
        each_max: the most that one connection may have.
    """

    def __init__(self, each_max: int) -> None:
        self._each_max = each_max
        self._open = Counter[str]()

    def take(self, peer: str) -> bool:
        """Whether there was a place left; it is to be freed then."""
        if self._open[peer] >= self._each_max:
            return False
        self._open[peer] += 1
        return True

    def free(self, peer: str) -> None:
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]
