"""The page at `/`: what can be done here, as links."""

from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from gateway.docs import PAGE_HEADERS

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Shop</title>
<link rel="icon" href="/docs/assets/favicon.png">
</head>
<body>
<h1>Shop</h1>
<p>It takes orders over REST. The answer to an order names its trace, in the header <code>Link</code>.</p>
<ul>
<li><a href="/docs">/docs</a>: place an order and follow it, from this browser</li>
<li><a href="/openapi.json">/openapi.json</a>: the API for programs, such as those that generate clients</li>
<li><a href="/v1/orders">/v1/orders</a>: the newest orders</li>
<li><a href="/v1/stock">/v1/stock</a>: what is on the shelf</li>
<li><a href="/readyz">/readyz</a>: whether every service takes requests</li>
</ul>
</body>
</html>
"""


def add_start_page(app: FastAPI) -> None:
    """Serve the page."""

    async def page(_request: Request) -> Response:
        return Response(_PAGE, media_type="text/html", headers=PAGE_HEADERS)

    app.add_route("/", page)
