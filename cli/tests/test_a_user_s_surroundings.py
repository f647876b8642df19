"""What surrounds a command: no system, no colour, a program that reads."""

import json
import re
from pathlib import Path

import pytest

from cli.tests.commands import Commands
from cli.tests.orders import UNKNOWN, decided

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Of a colour, not of bold or dim.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]")


@pytest.mark.parametrize(
    "command",
    [
        ("order", "place"),
        ("order", "list"),
        ("order", "trace", UNKNOWN),
        ("stock",),
        ("payment", UNKNOWN),
        ("events", "tail"),
        ("outbox",),
        ("dead-letters", "list"),
        ("dead-letters", "redrive", "order.events"),
        ("sagas", "list"),
        ("services",),
        ("call", "order/GetOrder"),
    ],
)
async def test_where_nothing_runs_a_user_is_told_how_to_start_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Exit code 4, for a program too."""
    nowhere = Commands(SHOP_FOLDER=str(tmp_path), SHOP_SYSTEM="embedded")
    said = await nowhere.run(*command, "--json")
    told = json.loads(said.errors)
    assert (said.code, said.out, told["exitCode"]) == (4, "", 4)
    assert "make start" in told["error"]


async def test_colour_is_left_out_where_it_is_not_wanted(shop: Commands) -> None:
    """NO_COLOR, as no-color.org has it; a terminal gets colours without it."""
    order = await decided(shop)
    colourful = shop.beside(TERM="xterm-256color", NO_COLOR="")
    _, text = await colourful.in_terminal(100, "order", "show", order["orderId"])
    assert COLOUR.search(text)
    for verb in (("order", "show", order["orderId"]), ("services",), ("outbox",), ("order", "trace", order["orderId"])):
        code, text = await colourful.beside(NO_COLOR="1").in_terminal(100, *verb)
        assert (code, COLOUR.findall(text)) == (0, [])


async def test_a_file_gets_neither_colours_nor_cut_lines(shop: Commands) -> None:
    """Whatever its reader's terminal is like."""
    order = await decided(shop)
    said = await shop.run("order", "show", order["orderId"])
    assert "\x1b" not in said.out
    assert "…" not in said.out
