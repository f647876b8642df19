"""What went wrong with the database, and what follows from it: each SQLSTATE class and each driver's error, and why.

error ─▶ its class, or its SQLSTATE, or the SQLSTATE's class ─▶ Verdict: wait, try again, or give up
"""

import socket
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

import asyncpg
from asyncpg.exceptions import (
    InvalidCachedStatementError,
    OutdatedSchemaCacheError,
    ProtocolError,
    TargetServerAttributeNotMatched,
)
from sqlalchemy.exc import DBAPIError


class Unavailable(ConnectionError):
    """The database cannot be used now: not reached, silent, read only, or all connections are in use.

    What was asked of it may have been done all the same.
    """


class Verdict(Enum):
    """What is to be done about an error."""

    # The server, or the way to it, is not as it should be: close the connection, wait, try again without end.
    OUTAGE = auto()
    # Another transaction came between: try again. The connection is as good as before.
    CONFLICT = auto()
    # The schema has changed under what the connection remembers of it: close the connection and try again.
    OUTDATED = auto()
    # Another transaction holds a lock for longer than a session waits for one.
    LOCKED = auto()
    # The server ended a statement that took too long, waiting for locks or working.
    OVERDUE = auto()
    # What the work was given does not fit what is stored; the same again fails again.
    FAILURE = auto()
    # The program, or the database's definition, is wrong. Waiting would help nobody.
    DEFECT = auto()


class Reason(NamedTuple):
    verdict: Verdict
    why: str


def _are(verdict: Verdict, reasons: Mapping[str, str]) -> dict[str, Reason]:
    return {code: Reason(verdict, why) for code, why in reasons.items()}


# By SQLSTATE, or by its first two characters for the rest of that class. Source: PostgreSQL's documentation, appendix
# "PostgreSQL Error Codes". Whatever keeps a connection from being opened is an outage: see chassis/connections.py.
SQLSTATES: Mapping[str, Reason] = {
    **_are(
        Verdict.OUTAGE,
        {
            "08": "the connection is lost, or what speaks on it is a pooler that has lost its own",
            "25006": "the server takes no writes, as in a failover; a new connection may find the one that does",
            "25P03": "our own limit: the process was frozen inside a transaction, and the server has ended the session",
            "25P04": "a limit of the server for whole transactions; a process that was frozen meets it",
            "28": "a role or a password that is being changed; `checked` knows the lasting ones",
            "3D": "a database that is being made or renamed; `checked` knows the lasting ones",
            "53": "the server has no disk, memory or connection left",
            "57": "an operator, a shutdown, a crash or a start that is not over ended it",
            "58": "the server's system failed it: a disk, a file",
            "F0": "the server's own configuration cannot be read",
            "HV00N": "another server, which this one asks, is not reached",
            "XX": "the server found itself, or its data, in a state that it does not know",
        },
    ),
    **_are(
        Verdict.CONFLICT,
        {
            "40": "a deadlock, or transactions that cannot be put one after the other",
            "72": "the snapshot is older than the server keeps rows for",
        },
    ),
    **_are(Verdict.LOCKED, {"55P03": "a lock was not free within lock_timeout"}),
    **_are(
        Verdict.OVERDUE,
        {
            "57014": "statement_timeout, or somebody who cancelled the statement; the server answers others meanwhile",
        },
    ),
    **_are(
        Verdict.FAILURE,
        {
            "09": "a trigger refused",
            "20": "no branch of a CASE fits the value",
            "21": "more rows than a place holds",
            "22": "a value that the type does not take",
            "23": "a constraint refuses the row",
            "27": "a trigger has changed the row already",
            "2F": "a routine failed",
            "38": "a routine outside the server failed",
            "39": "a routine was called with, or answered, what does not fit",
            "44": "a view's check refuses the row",
            "53400": "the statement needs more than a limit that an operator has set, such as temp_file_limit",
            "54": "the statement, or a value of it, is larger than the server can handle",
            "55": "what it is about is not in the state that it needs",
            "HV": "another server, which this one asks, refused",
            "P0": "a routine raised it",
        },
    ),
    **_are(
        Verdict.DEFECT,
        {
            "03": "SQL that is not complete",
            "0A": "what the server cannot do",
            "0B": "a transaction cannot begin here",
            "0F": "a large object's locator that is none",
            "0L": "somebody who may not grant",
            "0P": "a role that may not be taken",
            "0Z": "diagnostics asked for where there are none",
            "10": "XQuery that is wrong",
            "24": "a cursor in another state",
            "25": "BEGIN, COMMIT or a statement where it may not stand, such as behind an error that was swallowed",
            "26": "a prepared statement that the session does not have: a pooler shares sessions",
            "2B": "what others depend on",
            "2D": "a transaction cannot end here",
            "34": "a cursor that is not there",
            "3B": "a savepoint that is not there",
            "3F": "a schema that is not there",
            "42": "SQL that is wrong, about what is not there, or not allowed to this role",
            "55006": "what the session itself still uses",
            "55P02": "a setting that cannot be changed now",
            "55P04": "an enum's value before it is committed",
        },
    ),
}
# By the server's function that reported it, where one SQLSTATE says two things. The name is not translated, as the
# message is, and it tells what is to be done about errors that else are taken for the work's.
ROUTINES: Mapping[str, Reason] = _are(
    Verdict.OUTAGE,
    {
        "GetNewTransactionId": "no transaction ids are left before a wraparound: the server takes no writes (54000)",
        "GetNewMultiXactId": "the same of ids for rows that several have locked (54000)",
    },
)
# What the drivers say by themselves; the first that fits.
DRIVER_ERRORS: Mapping[type[BaseException], Reason] = {
    Unavailable: Reason(Verdict.OUTAGE, "our own word for it"),
    InvalidCachedStatementError: Reason(
        Verdict.OUTDATED, "a prepared statement would answer other columns than it did"
    ),
    OutdatedSchemaCacheError: Reason(Verdict.OUTDATED, "a type that the driver has looked up has changed"),
    ProtocolError: Reason(Verdict.OUTAGE, "what came is no answer of a server: garbled, or cut off"),
    TargetServerAttributeNotMatched: Reason(Verdict.OUTAGE, "no server of the URL is a primary, as in a failover"),
    asyncpg.InternalClientError: Reason(Verdict.DEFECT, "the driver does not understand itself"),
    asyncpg.InterfaceError: Reason(
        Verdict.DEFECT,
        "wrong use of the driver: arguments that do not fit, two statements at once, a URL that is none; that the "
        "connection is closed is noticed, as Unavailable, where the statement is asked",
    ),
    ConnectionError: Reason(Verdict.OUTAGE, "the network"),
    TimeoutError: Reason(Verdict.OUTAGE, "the network, or whoever is asked, for longer than somebody waits"),
    socket.gaierror: Reason(Verdict.OUTAGE, "no address, or nobody who knows it"),
}
_UNKNOWN = Reason(Verdict.FAILURE, "a code of another program; it is tried again with a bound")
_NOT_OURS = Reason(Verdict.DEFECT, "no error of the database")

_TRY_AGAIN = {Verdict.OUTAGE, Verdict.CONFLICT, Verdict.OUTDATED, Verdict.LOCKED, Verdict.OVERDUE}
_CLOSE = {Verdict.OUTAGE, Verdict.OUTDATED}


def reason(error: BaseException) -> Reason:
    """The table's row for the error; what SQLAlchemy has wrapped is judged as what is inside."""
    if isinstance(error, DBAPIError):
        return _of_sqlalchemy(error)
    for kind, found in DRIVER_ERRORS.items():
        if isinstance(error, kind):
            return found
    if not isinstance(error, asyncpg.PostgresError):
        return _NOT_OURS
    by_routine = ROUTINES.get(getattr(error, "server_source_function", None) or "")
    sqlstate = str(getattr(error, "sqlstate", None) or "")
    return by_routine or SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2]) or _UNKNOWN


def _of_sqlalchemy(error: DBAPIError) -> Reason:
    # The dialect raises an error of its own from the driver's.
    inside = error.orig and (error.orig.__cause__ or error.orig)
    if error.connection_invalidated and not isinstance(inside, asyncpg.PostgresError):
        return Reason(Verdict.OUTAGE, "SQLAlchemy has found the connection closed")
    return reason(inside) if inside else _NOT_OURS


def is_transient(error: BaseException) -> bool:
    """Whether the world is at fault rather than the work: a lost connection, a full pool, a deadlock, a timeout."""
    return reason(error).verdict in _TRY_AGAIN


def is_locked(error: BaseException) -> bool:
    """Whether another transaction holds a lock for longer than a session waits for one."""
    return reason(error).verdict is Verdict.LOCKED


def is_overdue(error: BaseException) -> bool:
    """Whether the server ended a statement that took its time, waiting for a lock or working.

    It is transient, but no outage: the server answers, and other work may well be done meanwhile.
    """
    return reason(error).verdict in (Verdict.LOCKED, Verdict.OVERDUE)


def is_outdated(error: BaseException) -> bool:
    """Whether the schema has changed under what the connection remembers: at once, a new connection does better."""
    return reason(error).verdict is Verdict.OUTDATED


def closes(error: BaseException) -> bool:
    """Whether the connection that met the error is not to be used again, nor those that are as old."""
    return reason(error).verdict in _CLOSE
