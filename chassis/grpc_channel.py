"""A gRPC channel that finds a service again as soon as it is called, however long the service was away.

call ─▶ is the connection lost? ─no──▶ the inner channel
                └─yes, and it was dialled a second ago or more──▶ a new inner channel; the old one ends with its calls
"""

import asyncio
import time
import weakref
from collections.abc import Callable
from operator import methodcaller
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

# gRPC asks again for a name that was not found after 1 s, then 1.6 times later each time, up to two minutes, and no
# option sets that. Only a new channel begins anew.
DIAL_SECONDS_MIN = 1.0
# From one channel to the next for calls that were not answered in time: a service may be slow without standing still.
DISTRUST_SECONDS_MIN = 3.0


class RedialledChannel(grpc.aio.Channel):
    """A call on a channel that was just dialled waits for its connection, where one on a lost channel fails at once.

    Args:
        dial: makes an inner channel. It must not share connections with another, for it would share their back-off.
    """

    def __init__(self, dial: Callable[[], grpc.aio.Channel]) -> None:
        self._dial = dial
        self._inner, self._dialled_at = _Inner(dial()), time.monotonic()
        # Those that still have calls: a replica that takes no new ones works on.
        self._lost: weakref.WeakSet[_Inner] = weakref.WeakSet()

    def inner(self) -> "_Inner":
        """What a call that is made now goes through."""
        is_lost = self._inner.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        if is_lost and time.monotonic() - self._dialled_at >= DIAL_SECONDS_MIN:
            self._redial()
        return self._inner

    def distrust(self) -> None:
        """A call was not answered in time: later ones go through connections that a replica has to answer first.

        One that stands still does not, so they pass it by at once, and not only when gRPC has noticed.
        """
        if time.monotonic() - self._dialled_at >= DISTRUST_SECONDS_MIN:
            self._redial()

    def _redial(self) -> None:
        self._inner.end_with_its_calls()
        self._lost.add(self._inner)
        self._inner, self._dialled_at = _Inner(self._dial()), time.monotonic()

    async def close(self, grace: float | None = None) -> None:
        """No new calls from now on; those that are open are cancelled, or have `grace` seconds to end."""
        await asyncio.gather(*(inner.channel.close(grace) for inner in (self._inner, *self._lost)))

    async def __aenter__(self) -> "RedialledChannel":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.inner().channel.channel_ready()

    def unary_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        return _Method(self, methodcaller("unary_unary", method, *codecs, **named))

    def unary_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        return _Method(self, methodcaller("unary_stream", method, *codecs, **named))

    def stream_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        return _Method(self, methodcaller("stream_unary", method, *codecs, **named))

    def stream_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        return _Method(self, methodcaller("stream_stream", method, *codecs, **named))


class _Inner:
    """One channel of gRPC's own, and its open calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        # Weak, for gRPC cancels a call that nobody holds any more.
        self._calls: weakref.WeakSet[Any] = weakref.WeakSet()
        self._is_ending = False
        self._closing: asyncio.Task[None] | None = None

    def add(self, call: Any) -> None:
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def end_with_its_calls(self) -> None:
        """Close when no call is left. gRPC's own `close` with a time to wait cannot be cut short later."""
        self._is_ending = True
        if not self._calls:
            self._closing = asyncio.get_running_loop().create_task(self.channel.close())

    def _ended(self, call: Any) -> None:
        self._calls.discard(call)
        if self._is_ending:
            self.end_with_its_calls()


class _Method:
    """One method of the service, called on the inner channel of the moment."""

    def __init__(self, channel: RedialledChannel, made_of: Callable[[grpc.aio.Channel], Any]) -> None:
        self._channel, self._made_of = channel, made_of
        self._inner = channel.inner()
        self._call = made_of(self._inner.channel)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        inner = self._channel.inner()
        if inner is not self._inner:
            self._inner, self._call = inner, self._made_of(inner.channel)
        call = self._call(*arguments, **named)
        inner.add(call)
        return call
