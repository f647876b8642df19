"""The two shapes of a stream over HTTP, and which of them a client accepts."""

import re
from http import HTTPStatus
from typing import Final

from google.protobuf.message import Message

from gateway import codec
from gateway.binding import POSITION_FIELD
from gateway.problems import Problem, refusal

EVENT_STREAM: Final = "text/event-stream"
JSON_LINES: Final = "application/x-ndjson"
_QUALITY: Final = re.compile(r"0(\.[0-9]*)?|1(\.0*)?")


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
    """The format a client likes best; of two it likes the same the one it names, and lines if it names both or neither.

    Raises:
        Problem: 406, it accepts neither.
    """
    ranges = _accepted(accept.decode("latin-1") if accept else "*/*")
    events, lines = _rank(EVENT_STREAM, ranges), _rank(JSON_LINES, ranges)
    if max(events, lines)[0] > 0:
        return EventStream if events > lines else JsonLines
    raise refusal(
        HTTPStatus.NOT_ACCEPTABLE, "NOT_ACCEPTABLE", f"The stream comes as {EVENT_STREAM} or as {JSON_LINES}."
    )


def _rank(media_type: str, ranges: dict[str, float]) -> tuple[float, int]:
    """The quality that the most specific range gives, and how specific that one is (RFC 9110, 12.5.1)."""
    for specificity, media_range in ((3, media_type), (2, media_type.split("/")[0] + "/*"), (1, "*/*")):
        if media_range in ranges:
            return ranges[media_range], specificity
    return 0.0, 0


def _accepted(accept: str) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        if _QUALITY.fullmatch(quality):
            ranges[media_range] = float(quality)
    return ranges
