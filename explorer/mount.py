"""What the explorer answers, by path; the gateway mounts it.

/                   the page                        /explorer/NAME        its files
/explorer/v1/…      the API's GETs, untraced        /explorer/traces/ID   from the trace store
/explorer/replicas  every replica's figures         /explorer/source      the lines that spans lead to
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from explorer.client import Client
from explorer.pages import Pages
from explorer.reading import Reading
from explorer.replicas import Replicas
from explorer.settings import ExplorerSettings, for_the_page
from explorer.sources import Sources
from explorer.trace_store import TraceStore


def explorer(settings: ExplorerSettings, api: Sequence[BaseRoute], client: Client) -> list[BaseRoute]:
    """The explorer's routes.

    Args:
        settings: where it looks.
        api: the routes of the API, which the page asks without a trace.
        client: asks by HTTP; who opened it closes it.
    """
    pages, sources = Pages(), Sources(settings.source_folder)
    traces, replicas = TraceStore(settings, client), Replicas(settings.admin_addresses, client)

    async def told(_request: Request) -> Response:
        return JSONResponse(for_the_page(settings), headers={"cache-control": "no-store"})

    return [
        Reading(api),
        Route("/", pages.start),
        Route("/explorer/settings", told),
        Route("/explorer/traces/{trace_id}", traces.one),
        Route("/explorer/orders/{order_id}/traces", traces.about_order),
        Route("/explorer/source", sources.file),
        Route("/explorer/replicas", replicas.all),
        Route("/explorer/{name}", pages.file),
    ]
