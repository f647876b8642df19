"""What each way to break a part does to it, and what there is to see while it is broken."""

from collections.abc import Mapping

from cli.systems.running import How

# What a person is told while it happens, what it is then, and what that means.
DOING: Mapping[How, str] = {"stop": "Stopping", "freeze": "Freezing", "cut": "Cutting off", "down": "Taking down"}
DONE: Mapping[How, str] = {"stop": "stopped", "freeze": "frozen", "cut": "cut off", "down": "down"}
MEANS: Mapping[How, str] = {
    "stop": "it has ended, and nothing starts it again",
    "freeze": "it stands still; connections to it stay open, and nothing is answered",
    "cut": "it runs, but reaches no other part, and none reaches it",
    "down": "every connection was dropped, and new ones are refused; what was written stays",
}

_PLACE, _FOLLOW = "./shop order place", "./shop order place --watch"

# By part: what happens to orders meanwhile, and commands that show it. In braces are the waits that hold.
MEANWHILE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "gateway": (
        "Nobody can place an order. Those that were accepted go on to their end.",
        (_PLACE, "./shop sagas list"),
    ),
    "order": (
        "No order is accepted, and no saga moves. What payment and inventory have to say waits on Kafka.",
        (_PLACE, "./shop services"),
    ),
    "payment": (
        "An order is accepted and its goods are held. Then its charge is tried again and again, until the deadline"
        " ({CHARGE_DEADLINE_SECONDS}) turns it back; the refund then waits for payment too.",
        (_FOLLOW, "./shop sagas list"),
    ),
    "inventory": (
        "An order is accepted. Then its reservation is tried again and again, until the deadline"
        " ({RESERVE_DEADLINE_SECONDS}) turns it back; its release then waits for inventory too.",
        (_FOLLOW, "./shop sagas list"),
    ),
    "card-network": (
        "An order is accepted and its goods are held. Then payment asks the card network again and again, until the"
        " deadline ({CHARGE_DEADLINE_SECONDS}) turns the order back; the refund needs the card network too.",
        (_FOLLOW, "./shop sagas list"),
    ),
    "kafka": (
        "An order is accepted and stays PENDING: what happened waits in the outbox, and no saga hears of it.",
        (_PLACE, "./shop outbox"),
    ),
    "postgres": (
        "Nothing can be promised, so nothing is accepted. What was accepted is on the disk, and goes on afterwards.",
        (_PLACE, "./shop services"),
    ),
    "jaeger": (
        "Orders go on as ever, and nobody sees it: spans are dropped. Stopped, it also forgets the traces that are in"
        " its memory.",
        (_PLACE,),
    ),
}


def meanwhile(part: str, settings: Mapping[str, float]) -> tuple[str, tuple[str, ...]]:
    """What there is to see while a part is broken, and the commands that show it.

    Args:
        settings: the waits that hold, in seconds; one that is not known is called by its name.
    """
    sentence, commands = MEANWHILE[part]
    for name in ("CHARGE_DEADLINE_SECONDS", "RESERVE_DEADLINE_SECONDS"):
        known = f"{settings[name]:g} s" if name in settings else name
        sentence = sentence.replace(f"{{{name}}}", known)
    return sentence, commands
