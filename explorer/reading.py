"""The API's GETs as the page asks them: by the same endpoints, and without a trace.

/explorer/v1/orders/ID ─▶ /v1/orders/ID, inside a context that records nothing ─▶ service: no span
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from chassis import telemetry

_PREFIX: Final = "/explorer"
_BELOW: Final = f"{_PREFIX}/v1/"
_ALLOWED: Final = ("GET", "HEAD")


class Reading(BaseRoute):
    """Everything below `/explorer/v1/`.

    Args:
        api: the routes of the API; they match by `raw_path`.
    """

    def __init__(self, api: Sequence[BaseRoute]) -> None:
        self._api = api
        self.path_format = f"{_BELOW}{{path}}"

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        is_below = scope["type"] == "http" and scope["raw_path"].startswith(_BELOW.encode())
        return (Match.FULL if is_below else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _ALLOWED:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_ALLOWED)})
        inside = {
            **scope,
            "path": scope["path"].removeprefix(_PREFIX),
            "raw_path": scope["raw_path"].removeprefix(_PREFIX.encode()),
        }
        for route in self._api:
            match, found = route.matches(inside)
            if match is not Match.NONE:
                with telemetry.unrecorded():
                    await route.handle({**inside, **found}, receive, send)
                return
        raise HTTPException(HTTPStatus.NOT_FOUND)
