"""Waits that have to fit each other: what each rule says, and what happens where it is broken."""

from collections.abc import Mapping
from dataclasses import dataclass

from cli.doctor.finding import Finding
from cli.systems.running import Running

# How long the order service waits for a participant to accept a command: `chassis.dispatcher.RPC_DEADLINE_SECONDS`,
# which is no setting.
CALL = "one call (3 s)"
CALL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Rule:
    """`shorter` has to be shorter than `longer`; `why` says what happens otherwise."""

    shorter: str
    longer: str
    why: str


RULES = (
    Rule(
        CALL,
        "RESERVE_DEADLINE_SECONDS",
        "A saga turns back while its first call to inventory may still be under way, so that an order is rejected"
        " whose goods were on the shelf.",
    ),
    Rule(
        CALL,
        "CHARGE_DEADLINE_SECONDS",
        "A saga turns back while its first call to payment may still be under way, so that a good card is charged and"
        " refunded.",
    ),
    Rule(
        "CARD_NETWORK_TIMEOUT_SECONDS",
        "CHARGE_DEADLINE_SECONDS",
        "The saga turns back before payment has given up its first wait for the card network, so that a lost answer is"
        " never asked for in time.",
    ),
    Rule(
        "SLOW_SECONDS",
        "CARD_NETWORK_TIMEOUT_SECONDS",
        "Payment hangs up on tok_slow before it has charged: what is a slow answer looks like a lost one.",
    ),
    Rule(
        "CHARGE_DEADLINE_SECONDS",
        "SILENCE_SECONDS",
        "tok_silent speaks again before the deadline, so that its order is confirmed, and no deadline turns it back.",
    ),
    Rule(
        "COMPENSATION_RETRY_SECONDS",
        "PARK_AFTER_SECONDS",
        "A compensation is given to an operator at its first missed deadline, before it was sent a second time.",
    ),
)


async def settings(system: Running) -> list[Finding]:
    """The rules that the running system breaks, or that it breaks none."""
    return judged(await system.settings())


def judged(settings: Mapping[str, float]) -> list[Finding]:
    """The same of settings; a rule about one that is not known is left out."""
    known = {**settings, CALL: CALL_SECONDS}
    rules = [rule for rule in RULES if rule.shorter in known and rule.longer in known]
    broken = [rule for rule in rules if known[rule.shorter] >= known[rule.longer]]
    if not broken:
        return [Finding("settings", "well", f"{len(settings)} waits fit each other, by {len(rules)} rules")]
    return [
        Finding(
            "settings",
            "wrong",
            f"{_named(rule.shorter, known)} is not shorter than {_named(rule.longer, known)}",
            rule.why,
            "Change one of them where the system is started: the environment of `make start`, or .env for containers.",
        )
        for rule in broken
    ]


def _named(name: str, known: Mapping[str, float]) -> str:
    return name if name == CALL else f"{name}={known[name]:g}"
