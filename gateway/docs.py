"""The API's own description: /openapi.json, and /docs, which shows it with what a wheel brings, not the network."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from explorer.pages import page_headers

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Shop API</title>
<link rel="icon" href="/docs/assets/favicon.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/docs.js"></script>
</body>
</html>
"""
_SCRIPT: Final = Path(__file__).with_name("docs.js")
# The viewer draws its icons from data URLs; everything else comes from here.
_PAGE_HEADERS: Final = page_headers(images="'self' data:")


def add_docs(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> None:
    """Serve the description; it is made at the first request and kept."""

    @cache
    def described() -> tuple[bytes, str]:
        body = json.dumps(describe(), ensure_ascii=False, separators=(",", ":")).encode()
        return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    async def openapi(request: Request) -> Response:
        body, etag = described()
        headers = {"etag": etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    async def page(_request: Request) -> Response:
        return Response(_PAGE, media_type="text/html", headers=_PAGE_HEADERS)

    script = _SCRIPT.read_text()

    async def start(_request: Request) -> Response:
        return Response(script, media_type="text/javascript")

    app.add_route("/openapi.json", openapi)
    app.add_route("/docs", page)
    app.add_route("/docs/docs.js", start)
    app.mount("/docs/assets", StaticFiles(directory=_assets()))


def _assets() -> Path:
    # Found without importing: the package would bring an application of its own.
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        raise RuntimeError("the viewer of /docs is missing: install fastapi-offline")
    return Path(package.origin).parent / "static"
