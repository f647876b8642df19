"""The page at `/` and its files: plain ones, read once, served as they are."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).with_name("page")
START: Final = "index.html"
_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def page_headers(images: str = "'self'") -> dict[str, str]:
    """What keeps a page to itself: nothing comes from elsewhere, and nothing of it is shown or sent elsewhere."""
    return {
        "content-security-policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


class File(NamedTuple):
    """A file of the page as it is answered."""

    body: bytes
    media_type: str
    headers: dict[str, str]


class Pages:
    """The files of the page's folder, and nothing beside them."""

    def __init__(self) -> None:
        self._files: Mapping[str, File] = {
            path.name: _file(path) for path in FOLDER.iterdir() if path.suffix in _MEDIA_TYPES
        }

    async def start(self, request: Request) -> Response:
        """The page itself."""
        return self._answer(request, START)

    async def file(self, request: Request) -> Response:
        """What the page is made of."""
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        if name not in self._files:
            raise HTTPException(404)
        body, media_type, headers = self._files[name]
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=media_type, headers=headers)


def _file(path: Path) -> File:
    body = path.read_bytes()
    headers = {"etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "cache-control": "no-cache"}
    if path.suffix == ".html":
        headers |= page_headers()
    return File(body, _MEDIA_TYPES[path.suffix], headers)
