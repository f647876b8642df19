"""`./shop play` before and after the acts: what is asked, what is kept, and how it is told."""

import json
from pathlib import Path

import pytest

import scenarios
from cli.tests.commands import Commands

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The quickest scenario, and the number of the answer that comes true.
QUICK, TRUE = "out-of-stock", 3


@pytest.fixture
def kept(shop: Commands, tmp_path: Path) -> tuple[Commands, Path]:
    """The command line with predictions of its own: nothing was played yet."""
    folder = Path(shop.environment["SHOP_FOLDER"])
    path = folder / "predictions.json"
    path.unlink(missing_ok=True)
    return shop, path


async def test_a_prediction_is_asked_for_kept_and_judged(kept: tuple[Commands, Path]) -> None:
    """At a terminal the question comes before the acts, and the answer after them says whether it was right."""
    shop, path = kept
    for predicted, words in ((TRUE, "That is what you expected."), (1, "You expected 1.")):
        code, said = await shop.in_terminal(120, "play", QUICK, typed=f"{predicted}\n")
        assert code == 0, said
        assert said.index("What do you expect?") < said.index("POST /v1/orders:")
        assert f"{TRUE} came true" in said
        assert words in said
        assert json.loads(path.read_text())[QUICK]["predicted"] == predicted
    listed = await shop.run("play", "--list", "--json")
    assert {row["name"]: row["you"] for row in listed.json}[QUICK] == "wrong"


async def test_an_answer_that_is_none_is_asked_for_again(kept: tuple[Commands, Path]) -> None:
    """A slip of a finger does not cost the play."""
    shop, path = kept
    code, said = await shop.in_terminal(120, "play", QUICK, typed=f"four\n{TRUE}\n")
    assert code == 0, said
    assert json.loads(path.read_text())[QUICK]["predicted"] == TRUE


@pytest.mark.parametrize("options", [(), ("--yes",)])
async def test_nobody_is_asked_where_nobody_can_answer(kept: tuple[Commands, Path], options: tuple[str, ...]) -> None:
    """A script that forgets --yes does not hang."""
    shop, path = kept
    played = await shop.run("play", QUICK, *options)
    assert played.code == 0, played.errors
    assert "What do you expect?" not in played.out
    assert f"{TRUE} came true" in played.out
    assert json.loads(path.read_text())[QUICK] | {"time": ""} == {"predicted": None, "cameTrue": TRUE, "time": ""}


async def test_a_play_says_where_to_look(kept: tuple[Commands, Path]) -> None:
    """What it will do and how long; the timeline; the trace with its waits; money, goods and shelf; the address."""
    shop, _ = kept
    played = await shop.run("play", QUICK, "--yes")
    for words in (
        scenarios.load(QUICK).does[0],
        "It takes up to 3 s",
        "ReservationRefused",
        "Trace of the order:",
        "mock broker",
        "money  no payment",
        "goods  REFUSED",
        "On the shelf, sold-out: available 0 → 0, held 0 → 0",
        "/trace/",
        "The span that shows it, ▶ above: saga heard ReservationRefused (order)",
    ):
        assert words in played.out


async def test_a_program_gets_one_document(kept: tuple[Commands, Path]) -> None:
    """Nothing else goes to standard output."""
    shop, _ = kept
    told = (await shop.run("play", QUICK, "--predict", "1", "--json")).json
    assert (told["scenario"], told["predicted"], told["cameTrue"]) == (QUICK, 1, TRUE)
    assert [each["title"] for each in told["traces"]] == ["the order"]
    assert told["orders"][0]["order"]["status"] == "REJECTED"


async def test_in_a_narrow_terminal_nothing_that_is_copied_is_cut(kept: tuple[Commands, Path]) -> None:
    """60 columns: spans are a line each, ids and addresses stand whole."""
    shop, _ = kept
    code, said = await shop.in_terminal(60, "play", QUICK, "--yes")
    assert code == 0, said
    told = (await shop.run("order", "list", "--customer", f"play-{QUICK}", "--limit", "1", "--json")).json
    orders = told["orders"] if isinstance(told, dict) else told
    assert orders[0]["orderId"] in said
    assert f"/trace/{orders[0]['traceId']}" in said


async def test_the_list_says_what_happens_and_how_long(shop: Commands) -> None:
    """Every scenario, with the waits of the running system; what cannot be played here says so."""
    rows = {row["name"]: row for row in (await shop.run("play", "--list", "--json")).json}
    assert tuple(rows) == scenarios.NAMES
    assert rows["replicas"]["takes"] == "containers only"
    assert rows["confirmed"]["takes"] == "≤ 3 s"
    assert all(row["title"] for row in rows.values())


async def test_without_a_system_the_list_is_there_all_the_same(tmp_path: Path) -> None:
    """A reader may look before starting anything; how long each takes is not known then."""
    listed = await Commands(SHOP_FOLDER=str(tmp_path), SHOP_SYSTEM="embedded").run("play", "--list", "--json")
    assert listed.code == 0
    assert {row["takes"] for row in listed.json} == {"?"}
    assert "make start" in listed.errors
