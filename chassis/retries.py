"""What is done about a message that could not be applied: who is at fault, how long it may wait, and when to try again.

an outage              the database does not answer                  without end, not counted
a lock, a deadlock     another transaction's                         without end, not counted
a statement's time     in doubt: who took it, a lock or the work?    once more with no patience for locks: that tells
anything else          the message's own                             so often, then a dead letter
"""

from enum import Enum
from typing import Any

import asyncpg

from chassis import backoff
from chassis.database import Limits, is_locked, is_transient
from chassis.waiting_keys import WaitingKey

RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.05, 2.0
# A batch holds the rows of many orders and must not wait for the one that is locked: its messages then go alone.
BATCH_LOCK_SECONDS = 0.25
BATCH_STATEMENT_SECONDS = 2.0
# Whoever waits for one row holds those that it has locked already, and others may need them: so it waits briefly, and
# comes again. In a queue of healthy transactions, of a few milliseconds each, that is long.
LOCK_SECONDS = 0.2
# What a session has, see `database`.
STATEMENT_SECONDS = 5.0
LOCK_SECONDS_MIN = 0.05
# A statement that meets locks for less than this, each, has taken the rest of its time for itself.
DOUBT_LOCK_SECONDS = 0.01


class Cause(Enum):
    """Who is at fault; the value is what the log says."""

    OUTAGE = "the database does not answer; trying again"
    LOCKED = "a lock or a statement took too long"
    FAILED = "handler failed"


def cause(error: Exception, *, had_patience: bool = True) -> Cause:
    """Why an attempt failed.

    Args:
        had_patience: whether its statements may have waited for locks until their time was over.
    """
    if is_locked(error) or isinstance(error, asyncpg.TransactionRollbackError):
        return Cause.LOCKED
    if isinstance(error, asyncpg.QueryCanceledError):
        return Cause.LOCKED if had_patience else Cause.FAILED
    return Cause.OUTAGE if is_transient(error) else Cause.FAILED


def is_in_doubt(error: Exception) -> bool:
    """Whether the error leaves open who took the time: a lock, or several, or the statement itself."""
    return isinstance(error, asyncpg.QueryCanceledError)


def of_batch(keys_waiting: int) -> Limits:
    """The limits of a transaction that serves many keys; the more keys wait, the sooner it gives way."""
    return Limits(_share(BATCH_LOCK_SECONDS, keys_waiting), BATCH_STATEMENT_SECONDS)


def alone(waiting: WaitingKey[Any], keys_waiting: int) -> Limits:
    """The limits of an attempt for one key: the keys that wait share the patience of one."""
    if waiting.is_in_doubt:
        return Limits(DOUBT_LOCK_SECONDS, STATEMENT_SECONDS)
    return Limits(_share(LOCK_SECONDS, keys_waiting), STATEMENT_SECONDS)


def pause_seconds(tries: int) -> float:
    """How long to wait before the next try, with full jitter."""
    return backoff.full_jitter(tries, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX)


def _share(longest_seconds: float, keys_waiting: int) -> float:
    return max(LOCK_SECONDS_MIN, longest_seconds / max(1, keys_waiting))
