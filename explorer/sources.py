"""The source files that spans lead to, as text; nothing is served that is not on a list made beforehand."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from explorer.refusals import Refused

# The programs that make spans.
PROGRAMS: Final = ("chassis", "explorer", "gateway", "services", "infra/card_network")
_LEFT_OUT: Final = frozenset({"tests", "testing.py", "migrations", "generated", "__pycache__"})


def listed(folder: Path) -> Mapping[str, Path]:
    """The programs' files below `folder`, by the path that spans name them with."""
    return {
        path.relative_to(folder).as_posix(): path
        for program in PROGRAMS
        for path in sorted((folder / program).rglob("*.py"))
        if not path.is_symlink() and _LEFT_OUT.isdisjoint(path.relative_to(folder).parts)
    }


class Sources:
    """Serves the files of the list; a request's path is looked up in it, and never joined to a folder."""

    def __init__(self, folder: Path) -> None:
        self._files = listed(folder)

    async def file(self, request: Request) -> Response:
        """The text of `?path=services/order/saga.py`."""
        path = self._files.get(request.query_params.get("path", ""))
        if path is None:
            raise Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "NO_SUCH_SOURCE", "No span leads to a file of this name.")
        return PlainTextResponse(path.read_text("utf-8"), headers={"cache-control": "no-store"})
