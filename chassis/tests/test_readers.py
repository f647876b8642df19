"""Whoever reads from Kafka, in this project and in its tests, reads what was committed."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def readers(source: str) -> list[ast.Call]:
    """The places where a consumer is made."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AIOKafkaConsumer")
    ]


def test_every_reader_reads_committed() -> None:
    """One that does not takes what a transaction took back for something that was said."""
    sources = [path for path in ROOT.glob("[!.]*/**/*.py") if not any(part.startswith(".") for part in path.parts[1:])]
    found = [(path, call) for path in sources for call in readers(path.read_text())]
    assert len(found) > 10
    for path, call in found:
        chosen = {argument.arg: ast.unparse(argument.value) for argument in call.keywords}
        assert chosen.get("isolation_level") == "'read_committed'", f"{path}:{call.lineno}"
