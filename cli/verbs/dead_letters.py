"""`shop dead-letters`: the messages that could not be handled, and the way back for them."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from catalogue import DEAD, TOPICS
from cli.failures import Malformed, NoBroker, NoSystem, Unknown, WrongState
from cli.session import Session, runs
from cli.values import counted, moment

if TYPE_CHECKING:
    from chassis.redrive import DeadLetter

_ID = re.compile(r"(?P<topic>.+)/(?P<partition>\d+)/(?P<offset>\d+)")

# Of the reasons why letters were passed over.
_REASONS_MAX = 10

Json = dict[str, Any]


@click.group(short_help="List, show and redrive messages that could not be handled.")
def command() -> None:
    """Messages that a service gave up. Each lies on its topic's dead letter topic, and can be sent back."""


def _topics(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    return [topic for topic in TOPICS if topic.startswith(begun)]


def _topic(name: str) -> str:
    """By its own name or by that of its dead letters.

    Raises:
        Unknown: there is no such topic.
    """
    topic = name.removesuffix(DEAD)
    if topic not in TOPICS:
        raise Unknown(f"There is no topic {name}; there are {', '.join(TOPICS)}.")
    return topic


def _place(letter_id: str) -> tuple[str, int, int]:
    """Topic, partition and offset.

    Raises:
        Malformed: it is no id.
        Unknown: there is no such topic.
    """
    found = _ID.fullmatch(letter_id)
    if found is None:
        raise Malformed(
            f"{letter_id!r} is no dead letter's id, which is TOPIC/PARTITION/OFFSET such as {TOPICS[0]}/0/3;"
            f" `./shop dead-letters list` tells them."
        )
    return _topic(found["topic"]), int(found["partition"]), int(found["offset"])


@command.command("list", short_help="List the dead letters of a topic, or of all.")
@click.argument("topic", required=False, shell_complete=_topics)
@runs
async def list_letters(session: Session, topic: str | None) -> None:
    """List the dead letters of TOPIC, such as inventory.events, or of all topics; the oldest first."""
    from cli.listing import listing

    topics = [_topic(topic)] if topic else list(TOPICS)
    letters = [each for name in topics for each in await _letters(session, name)]
    rows = [
        (
            each["id"],
            moment(each["time"]),
            each["type"].rpartition(".")[2] or "?",
            each["group"],
            "redriven" if each["redriven"] else "waiting",
            each["orderId"],
            each["reason"],
        )
        for each in letters
    ]
    headers = ("dead letter", "died", "type", "group", "state", "order", "reason")
    session.out.show(letters, lambda console: listing(console, headers, rows) if rows else None)
    if not letters:
        session.out.say("There is no dead letter.")
    elif any(not each["redriven"] for each in letters):
        session.out.say("Repair what could not handle it, then: ./shop dead-letters redrive TOPIC, or one by its id")


async def _letters(session: Session, topic: str) -> list[Json]:
    from chassis.redrive import DeadLetterTopic
    from cli.records import asking

    kafka = (await session.system()).kafka
    async with asking(kafka), DeadLetterTopic(kafka, topic) as dead:
        return [_as_json(letter) async for letter in dead.letters()]


def _as_json(letter: "DeadLetter") -> Json:
    from cli.records import decode
    from infra.local.spans import one_line

    decoded, died = decode(letter.record), {name: one_line(value) for name, value in letter.died().items()}
    return {
        "id": f"{letter.topic}/{letter.record.partition}/{letter.record.offset}",
        "topic": letter.topic,
        "time": died.get("time") or decoded.time.isoformat(),
        "type": decoded.type,
        "orderId": decoded.order_id,
        "group": died.get("group", ""),
        "reason": died.get("reason", "somebody else put it there"),
        "partition": died.get("partition", ""),
        "offset": died.get("offset", ""),
        "redriven": letter.is_redriven,
        "traceId": decoded.trace_id,
    }


@command.command(short_help="Show one: why it died, its headers, its payload.")
@click.argument("letter_id", metavar="ID")
@runs
async def show(session: Session, letter_id: str) -> None:
    """Show one dead letter: why it died, its headers, and its payload as far as it decodes."""
    from chassis.redrive import DeadLetterTopic, NoSuchLetter
    from cli.records import asking, decode, headers_of

    topic, partition, offset = _place(letter_id)
    kafka = (await session.system()).kafka
    async with asking(kafka), DeadLetterTopic(kafka, topic) as dead:
        try:
            letter = await dead.letter(partition, offset)
        except NoSuchLetter:
            raise _unknown(letter_id) from None
    decoded = decode(letter.record)
    data = {
        **_as_json(letter),
        "headers": headers_of(letter.record.headers),
        "payload": decoded.payload,
        "poison": decoded.poison or None,
        "bytes": len(letter.record.value or b""),
    }
    session.out.show(data, lambda console: _show(console, data))


def _show(console: Console, data: Json) -> None:
    import json

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    state = "redriven" if data["redriven"] else "waiting"
    line(f"Dead letter {data['id']}: {state}", "bold")
    line(f"  died {moment(data['time'])} in the group {data['group'] or '?'}: {data['reason']}")
    line(f"  was {data['topic']}, partition {data['partition'] or '?'}, offset {data['offset'] or '?'}")
    line("Headers", "bold")
    for name, value in data["headers"].items():
        line(f"  {name}: {'null' if value is None else value}")
    line("Payload", "bold")
    if data["payload"] is None:
        line(f"  {counted(data['bytes'], 'byte')} that do not decode: {data['poison']}", "red")
    else:
        line(json.dumps(data["payload"], indent=2))


@command.command(short_help="Send one back, or all of a topic that wait.")
@click.argument("what", metavar="ID|TOPIC", shell_complete=_topics)
@runs
async def redrive(session: Session, what: str) -> None:
    """Send one dead letter back, by its ID, or all of a TOPIC that wait; under the event ids that they had.

    Groups that have handled a message know it and pass over it. A message that died in several groups is sent once.
    A letter that cannot be read, or whose message the topic does not take, is passed over, and goes on waiting.
    Exit code 2 if Kafka does not answer, 6 if the letter was sent back before, or cannot be.
    """
    from chassis.redrive import DeadLetterTopic
    from cli.records import asking
    from cli.tracing import exporting

    is_one = "/" in what
    topic = _place(what)[0] if is_one else _topic(what)
    system, out = await session.system(), session.out
    try:
        async with exporting(system.otlp), asking(system.kafka), DeadLetterTopic(system.kafka, topic) as dead:
            sent = await _redrive_one(dead, what) if is_one else await dead.redrive()
    except NoSystem as away:
        raise NoBroker(str(away)) from None
    out.show(
        {"topic": topic, "sent": sent, "passedOver": dict(dead.passed_over)},
        lambda _: out.say("\n".join(_redriven(topic, sent, dead.passed_over))),
    )


def _redriven(topic: str, sent: int, passed_over: Counter[str]) -> list[str]:
    left = passed_over.total()
    verb = "was" if sent == 1 else "were"
    if not sent and not left:
        return [f"No dead letter of {topic} waits."]
    lines = [f"{counted(sent, 'message')} {verb} sent back to {topic}."]
    if left:
        lines.append(f"{counted(left, 'letter')} {'was' if left == 1 else 'were'} passed over:")
        lines += [f"  {count} × {why}" for why, count in passed_over.most_common(_REASONS_MAX)]
    return lines


async def _redrive_one(dead: Any, letter_id: str) -> int:
    from chassis.redrive import NoSuchLetter, PassedOver, RedrivenAlready
    from chassis.redriven import TooScattered

    _, partition, offset = _place(letter_id)
    try:
        await dead.redrive_one(partition, offset)
    except NoSuchLetter:
        raise _unknown(letter_id) from None
    except RedrivenAlready:
        raise WrongState(
            f"Dead letter {letter_id} was sent back already. If it died again, that is a new one:"
            f" ./shop dead-letters list {dead.topic}"
        ) from None
    except PassedOver as why:
        raise WrongState(f"Dead letter {letter_id} was passed over: {why}.") from None
    except TooScattered:
        raise WrongState(
            f"So many letters of {dead.topic} were sent back one by one that no more can be remembered; send back all"
            f" that wait: ./shop dead-letters redrive {dead.topic}"
        ) from None
    return 1


def _unknown(letter_id: str) -> Unknown:
    return Unknown(f"There is no dead letter {letter_id}; `./shop dead-letters list` tells those there are.")
