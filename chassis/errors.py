"""Refusals: what the domain says no to, in words every transport can carry.

Everything else that is raised is a fault: the transaction rolls back and whoever began the work decides about a retry.
"""

import errno
from dataclasses import dataclass


class Misconfigured(Exception):
    """A setting cannot be used as it is, which only its use has shown; the message names it and says what to do.

    Waiting would not help: the process ends.
    """


def port_taken(setting: str, host: str, port: int) -> Misconfigured:
    """Somebody else listens there."""
    return Misconfigured(f"setting {setting}: port {port} on {host} is already taken; set {setting} to a free one")


def cannot_listen(error: OSError, setting: str, host: str, port: int) -> Misconfigured:
    """Somebody else listens there, or the system has another reason, which it names."""
    if error.errno == errno.EADDRINUSE:
        return port_taken(setting, host, port)
    return Misconfigured(f"settings HOST, {setting}: {host} port {port}: {error.strerror}")


class Refusal(Exception):
    """The request cannot be carried out as it stands; repeating it unchanged gets the same answer."""

    reason = "REFUSED"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotFound(Refusal):
    """Nothing is stored under that name."""

    reason = "NOT_FOUND"


class Invalid(Refusal):
    """A field of the request has a value that cannot be used; `field` names it."""

    reason = "INVALID"


class WrongState(Refusal):
    """What the request is about exists, but its state does not allow it."""

    reason = "WRONG_STATE"


class KeyReused(Refusal):
    """The idempotency key belongs to an earlier request with other content."""

    reason = "IDEMPOTENCY_KEY_REUSED"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken validation rule: the field's path in proto names, what it must be, and the rule's id."""

    field: str
    description: str
    rule: str


class Invalids(Invalid):
    """A request breaks validation rules; `violations` lists the first ones.

    Args:
        more: how many there are beside those.
    """

    def __init__(self, violations: list[Violation], more: int = 0) -> None:
        told = "; ".join(f"{violation.field}: {violation.description}" for violation in violations[:3])
        others = len(violations[3:]) + more
        super().__init__(f"{told}; and {others} more" if others else told)
        self.violations = violations
