"""PostgreSQL runs for everybody, root too, and adds nothing to the system."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from infra.local.postgres import Postgres
from infra.local.postgres_programs import PostgresFailed, system_user


@pytest.mark.parametrize(("user_id", "user"), [(0, "nobody"), (1000, None)])
def test_root_lends_postgres_a_user_that_exists_and_anybody_else_runs_it_as_himself(
    user_id: int, user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL refuses to run as root."""
    monkeypatch.setattr(os, "geteuid", lambda: user_id)
    assert system_user() == user


def test_without_such_a_user_root_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is left behind."""

    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(PostgresFailed, match=r"there is no user nobody .*; start this as an ordinary user"):
        Postgres(5432)
    assert not list(tmp_path.iterdir())
