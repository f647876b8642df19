"""The two shapes of a stream over HTTP, and which of them a client accepts."""

import contextlib
from http import HTTPStatus
from typing import Final

from google.protobuf.message import Message

from gateway import codec
from gateway.binding import POSITION_FIELD
from gateway.problems import Problem, refusal

EVENT_STREAM: Final = "text/event-stream"
JSON_LINES: Final = "application/x-ndjson"


class EventStream:
    """Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

    media_type = EVENT_STREAM
    keep_alive = b": keep-alive\n\n"

    @staticmethod
    def message(message: Message) -> bytes:
        position = getattr(message, POSITION_FIELD, None)
        name = b"" if position is None else b"id: %d\n" % position
        return name + b"data: " + codec.encode(message) + b"\n\n"

    @staticmethod
    def error(problem: Problem) -> bytes:
        return b"event: error\ndata: " + problem.body() + b"\n\n"


class JsonLines:
    """One JSON value on each line; the last one is `{"error": …}` when the stream broke off."""

    media_type = JSON_LINES
    keep_alive = b""

    @staticmethod
    def message(message: Message) -> bytes:
        return codec.encode(message) + b"\n"

    @staticmethod
    def error(problem: Problem) -> bytes:
        return b'{"error":' + problem.body() + b"}\n"


Format = type[EventStream] | type[JsonLines]


def negotiated(accept: bytes | None) -> Format:
    """The format a client accepts: events only when it names them, lines otherwise.

    Raises:
        Problem: 406, it accepts neither.
    """
    ranges = _accepted(accept.decode("latin-1") if accept else "*/*")
    if ranges.get(EVENT_STREAM, 0.0) > ranges.get(JSON_LINES, 0.0):
        return EventStream
    if any(ranges.get(each, 0.0) > 0 for each in (JSON_LINES, "application/*", "*/*")):
        return JsonLines
    if ranges.get("text/*", 0.0) > 0:
        return EventStream
    raise refusal(
        HTTPStatus.NOT_ACCEPTABLE, "NOT_ACCEPTABLE", f"The stream comes as {EVENT_STREAM} or as {JSON_LINES}."
    )


def _accepted(accept: str) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        with contextlib.suppress(ValueError):
            ranges[media_range.lower()] = float(quality)
    return ranges
