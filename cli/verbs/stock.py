"""`shop stock`: what is on the shelf, and what orders hold of it."""

import click

from cli.session import Session, runs


@click.command(short_help="What is on the shelf, and what orders hold of it.")
@click.argument("sku", required=False)
@runs
async def command(session: Session, sku: str | None) -> None:
    """What is on the shelf: of the article SKU, or of all.

    Available can still be reserved; held waits for orders that are not shipped yet.
    """
    from cli.listing import listing
    from cli.values import money

    rpc = await session.rpc()
    if sku is None:
        items = await rpc.pages("inventory/ListStock", "items")
    else:
        items = [await rpc.ask("inventory/GetStock", {"sku": sku})]
    rows = [(item["sku"], item["available"], item["held"], money(item.get("unitPrice"))) for item in items]
    headers = ("article", "available", "held", "price")
    session.out.show(
        items if sku is None else items[0],
        lambda console: listing(console, headers, rows, numbers=("available", "held", "price")),
    )
