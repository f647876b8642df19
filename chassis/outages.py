"""What waits while the database is away, and what no wait would help."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from chassis import errors, logs
from chassis.database_errors import Unavailable, is_overdue, is_transient

log = logs.get(__name__)


@contextmanager
def checked(setting: str) -> Generator[None]:
    """The server answers, and says that nobody gets in with this URL: then waiting will not help.

    Raises:
        Misconfigured: an unknown role or database, a wrong password, a role that may not connect.
    """
    try:
        yield
    except Unavailable as unavailable:
        error = unavailable.__cause__
        if not isinstance(
            error,
            (
                asyncpg.InvalidAuthorizationSpecificationError,
                asyncpg.InvalidCatalogNameError,
                asyncpg.InsufficientPrivilegeError,
            ),
        ):
            raise
        raise errors.Misconfigured(
            f"setting {setting}: {error}; set it to a role and a database that are there"
        ) from error


@dataclass(slots=True)
class Outage:
    """Whether the database failed the block, and by what."""

    happened: bool = False
    error: Exception | None = None


@contextmanager
def outages(what_waits: str, **fields: Any) -> Generator[Outage]:
    """An outage of the database ends the block with a warning, and the caller tries again later; a defect goes on.

    It looks at every exception, as the consumer does: which of them are the world's fault only `is_transient` knows.
    """
    outage = Outage()
    try:
        yield outage
    except Exception as error:
        if not is_transient(error):
            raise
        outage.happened, outage.error = True, error
        why = "a lock or a statement took too long" if is_overdue(error) else "the database does not answer"
        log.warning(f"{what_waits}: {why}", error=repr(error), **fields)
