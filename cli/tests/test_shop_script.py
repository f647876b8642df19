"""The script `./shop`: what it runs, from where, and what it grants to the tools image."""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from catalogue import PARTS
from cli.__main__ import VERBS
from cli.systems.containers import SETTINGS
from cli.tests.commands import ROOT

HELP_SECONDS_MAX = 0.3
READER = ("postgres", "psql", "--no-psqlrc", "--username", "order_reader", "--dbname", "order")


def run(*words: str | Path, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


def bare(folder: Path) -> Path:
    """The script without .venv, and no more beside it than it reads."""
    (folder / "cli" / "systems").mkdir(parents=True)
    shutil.copy(ROOT / "shop", folder)
    return folder / "shop"


def test_help_comes_at_once() -> None:
    """Nothing heavy is loaded for it."""
    took: list[float] = []
    for _ in range(5):
        begin = time.monotonic()
        ended = run("./shop", "--help")
        took.append(time.monotonic() - begin)
        assert ended.returncode == 0
        assert [name for name in VERBS if f"  {name} " not in ended.stdout] == []
    assert statistics.median(took) <= HELP_SECONDS_MAX


def test_it_works_from_any_folder_and_through_links(tmp_path: Path) -> None:
    """Whatever lies there: what is imported is this checkout's."""
    (tmp_path / "cli.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "first").symlink_to(ROOT / "shop")
    (tmp_path / "second").symlink_to("bin/first")
    for script in (ROOT / "shop", tmp_path / "bin" / "first", "./second"):
        ended = run(script, "psql", "billing", folder=tmp_path)
        assert (ended.returncode, ended.stderr.count("There is no service billing")) == (5, 1), ended.stderr
    ended = run("shop", "--help", folder=tmp_path, PATH=f"{ROOT}:{os.environ['PATH']}")
    assert ended.returncode == 0


def test_without_python_and_docker_it_says_what_to_install(tmp_path: Path) -> None:
    """Both ways, and the exit code of a system that cannot be asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "readlink"):
        (tools / name).symlink_to(str(shutil.which(name)))
    ended = run(bare(tmp_path), "--help", PATH=str(tools))
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "no .venv, and no Docker" in ended.stderr
    assert "make start" in ended.stderr


@pytest.mark.docker
def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """With what the client said about it."""
    ended = run(bare(tmp_path), "--help", DOCKER_HOST="tcp://127.0.0.1:1")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "no Docker engine answers: " in ended.stderr


def granted(*words: str, folder: Path = ROOT, **environment: str) -> bool:
    """Whether the tools image may have `docker WORDS`."""
    script = '. cli/systems/attendant.sh; granted "$@"'
    return run("sh", "-u", "-c", script, "sh", *words, folder=folder, **environment).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("compose", "ps", "--all", "--format", "json"),
        (
            "compose",
            "up",
            "--detach",
            "--no-recreate",
            "--no-deps",
            "--scale=order=2",
            "--scale=payment=1",
            "order",
            "payment",
        ),
        ("compose", "exec", "-T", *READER, "--command", "SELECT 1"),
        ("compose", "exec", "-T", *READER, "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"),
        ("compose", "exec", "-T", *READER, "--csv", "--command", "SELECT '\\'"),
        ("compose", "exec", "-T", *READER, "--command", "\\d+ inbox"),
    ],
)
def test_what_the_command_line_asks_for_is_granted(words: Sequence[str]) -> None:
    """Without asking the engine about it."""
    assert granted(*words)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("run", "--privileged", "shop/tools"),
        ("compose",),
        ("compose", "down", "--volumes"),
        ("compose", "--file", "other.yaml", "ps"),
        ("compose", "run", "tools"),
        ("compose", "up", "--detach", "--no-recreate", "--no-deps"),
        ("compose", "up", "--detach", "--no-recreate", "--no-deps", "--build"),
        ("compose", "up", "--detach", "--no-recreate", "--no-deps", "--scale=postgres=2"),
        ("compose", "up", "--detach", "--no-recreate", "--no-deps", "--scale=order=1000"),
        ("compose", "exec", "-T", "postgres", "sh"),
        ("compose", "exec", *READER, "--command", "SELECT 1"),
        ("compose", "exec", "-T", "--privileged", *READER),
        ("compose", "exec", "-T", *READER[:4], "postgres", "--dbname", "order"),
        ("compose", "exec", "-T", *READER[:6], "payment", "--command", "SELECT 1"),
        ("compose", "exec", "-T", *READER, "--username", "postgres"),
        ("compose", "exec", "-T", *READER, "postgres"),
        ("compose", "exec", "-T", *READER, "--file", "/etc/passwd"),
        ("compose", "exec", "-T", *READER, "--set", "PROMPT1=`id`"),
        ("compose", "exec", "-T", *READER, "--command"),
        ("compose", "exec", "-T", *READER, "--command", "\\! id"),
        ("compose", "exec", "-T", *READER, "--command", "\\d `id`"),
        ("compose", "exec", "-T", *READER, "--command", "\\d inbox\n\\! id"),
        ("compose", "exec", "-T", *READER, "--command", "\\copy orders to '/tmp/orders'"),
        ("inspect", "shop-order-1"),
        ("inspect", "--format", "{{json .Config.Env}}", "shop-order-1"),
        ("inspect", "--format", SETTINGS.replace("SILENCE_SECONDS", "DATABASE_URL"), "shop-order-1"),
        ("inspect", "--format", SETTINGS.replace(' "SILENCE', ' "DATABASE_URL""SILENCE'), "shop-order-1"),
        ("inspect", "--format", SETTINGS + "{{json .Config.Env}}", "shop-order-1"),
        ("network", "connect", "--alias", "postgres", "shop_default", "--help"),
        ("network", "rm", "shop_default"),
        ("stop",),
        ("stop", "--help"),
        ("exec", "shop-order-1"),
        ("cp", "shop-order-1:/", "."),
    ],
)
def test_nothing_else_is_granted(words: Sequence[str]) -> None:
    """Whoever breaks into the image gets no further."""
    assert not granted(*words)


def test_the_script_knows_every_part() -> None:
    """It is written in shell, and cannot read the catalogue."""
    known = run("sh", "-c", '. cli/systems/attendant.sh; for part; do is_part "$part" || exit 1; done', "sh", *PARTS)
    assert known.returncode == 0
    assert not granted("network", "connect", "--alias", "elsewhere", "shop_default", "shop-order-1")


def test_everything_is_undone_even_if_nobody_reads_what_went_wrong(tmp_path: Path) -> None:
    """As behind `| head`: what cannot be undone is said to nobody, and is no reason to leave the rest broken."""
    work, tools = tmp_path / "work", tmp_path / "tools"
    for folder in (tools, work / "kept", work / "asks"):
        folder.mkdir(parents=True)
    docker = tools / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/log\n[ "$2" != gone ]\n')
    docker.chmod(0o755)
    for name, part in (("1-1", "order"), ("1-2", "gone")):
        (work / "kept" / name).write_text(f"start\n{part}\n")
    # Its input is what ends with ./shop; it has ended.
    (work / "life").touch()
    (work / "over").touch()
    reader, writer = os.pipe()
    os.close(reader)
    script = f"set -u; work={work} container=shop-tools; . cli/systems/attendant.sh; attend"
    # Python ignores PIPE, and gives it back to what it starts.
    subprocess.run(
        ("/bin/sh", "-c", script),
        cwd=ROOT,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        stderr=writer,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (tmp_path / "log").read_text().splitlines()[:4] == ["start gone"] * 3 + ["start order"]
    assert not work.exists()
