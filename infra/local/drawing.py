"""What a terminal shows of an order: its timeline, and its trace as a tree with its waits.

wide enough:  start ms  took ms  waited ms in   service  ├ name of the span  [remarks]
narrow:       start     took                    service  ├name, its topic and package left out  [waited …; remarks]
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from re import compile as pattern
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.local.spans import Span
from infra.local.trace_tree import HEADING, KAFKA, MOCK_BROKER, Line, legend, trace_lines

Json = Mapping[str, Any]

SERVICE_STYLES = {
    "gateway": "cyan",
    "order": "green",
    "payment": "magenta",
    "inventory": "blue",
    "card-network": "yellow",
}
BROKERS = {"embedded": MOCK_BROKER, "containers": KAFKA}

# Stands before the name of the span that a reader is sent to.
MARK = "\N{BLACK RIGHT-POINTING TRIANGLE}"
# Below it, what stands left of a name would leave no room for the name.
WIDE = 116
_NARROW_HEADING = f"{'start':>6} {'took':>6} ms"
_TOPIC = pattern(r"^(create|send|process|poll) \S+ (\w+)$")
_PACKAGE = pattern(r"^[\w.]+/(\w+)$")
_SPANS = ("span", "spans")
# After so long a step's time is told in seconds.
_SECONDS_FROM = timedelta(seconds=10)


def timeline_table(entries: Sequence[Json]) -> Table:
    """The entries of a timeline, as the APIs give them: how long after the first, who, what, and what followed."""
    # Without a header: most entries have nothing in the last column, the reason that only the saga knows.
    table = Table("after", "service", "event", "status", "", box=None, title="Steps", title_justify="left")
    for entry in entries:
        table.add_row(*_cells(entry, began(entries)))
    return table


def timeline_line(entry: Json, begin: datetime) -> Text:
    """One entry on a line of its own, the columns as wide as they usually are; `begin` is the first entry's time."""
    after, service, event, status, detail = _cells(entry, begin)
    service.pad_right(12 - len(service))
    line = Text.assemble(f"{after:>8}  ", service, f"  {event:<18}  {status:<9}")
    return Text.assemble(line, "  ", detail) if detail else line


def began(entries: Sequence[Json]) -> datetime:
    """When the first entry happened."""
    return datetime.fromisoformat(entries[0]["time"])


def _cells(entry: Json, begin: datetime) -> tuple[str, Text, str, str, Text]:
    after = datetime.fromisoformat(entry["time"]) - begin
    milliseconds = f"{after / timedelta(milliseconds=1):.0f} ms"
    return (
        milliseconds if after < _SECONDS_FROM else f"{after.total_seconds():.1f} s",
        Text(entry["service"], SERVICE_STYLES.get(entry["service"], "")),
        entry["event"].rpartition(".")[2],
        entry.get("status", ""),
        Text(entry.get("detail", "")),
    )


def print_tree(
    console: Console,
    spans: Iterable[Span],
    kind: Literal["embedded", "containers"],
    *,
    show: Collection[str] = (),
    targets: Mapping[tuple[str, str], str] | None = None,
    page: Callable[[str], str] | None = None,
    explained: bool = True,
    marked: str = "",
) -> None:
    """A line for each span of a trace, cut where the terminal ends, never wrapped; and what the waits add up to.

    Args:
        kind: of the system, whose broker is a real Kafka or none.
        show: which details stand below each span, whole; see `span_details.KINDS`.
        targets: what spans of other traces are called, by trace and span id.
        page: the address of a trace, for what leads to another one.
        explained: say what the waits are.
        marked: the id of a span that is to be seen at once.
    """
    found = list(spans)
    lines = trace_lines(found, show, targets, broker=BROKERS[kind])
    for row in tree_rows(lines, is_wide=console.width >= WIDE, page=page, marked=marked):
        # What is too long for a terminal is cut there, and whole in a file.
        if row.no_wrap and (console.is_terminal or console.width < WIDE):
            console.print(row, no_wrap=True, overflow="ellipsis")
        else:
            console.print(row, soft_wrap=True)
    more = [f"{len(found) - len(lines)} more spans are not drawn."] if len(found) > len(lines) else []
    for sentence in (*more, *waits(lines), *(legend(lines) if explained else ())):
        console.print(sentence, style="dim", highlight=False, markup=False)


def tree_rows(
    lines: Sequence[Line], *, is_wide: bool, page: Callable[[str], str] | None = None, marked: str = ""
) -> Iterator[Text]:
    """The rows of a tree; `no_wrap` is set on those that may be cut."""
    width = max((len(line.span.service) for line in lines), default=0)
    heading = HEADING if is_wide else _NARROW_HEADING
    yield Text(f"{heading}  {'service':<{width}}  span", "dim", no_wrap=True)
    for line in lines:
        times = line.times if is_wide else f"{line.start_ms:6.0f} {line.took_ms:6.0f}   "
        yield _span(line, times, width, is_wide=is_wide, is_marked=line.span.id == marked)
        for detail in line.details:
            below = line.below if is_wide else line.below[::2]
            where = detail.leads_to.trace_id if detail.leads_to else line.span.trace_id
            address = f", in {page(where)}" if page and where != line.span.trace_id else ""
            yield Text(f"{'':{len(heading) + width + 4}}{below}  {detail.text}{address}", "dim")


def _span(line: Line, times: str, width: int, *, is_wide: bool, is_marked: bool) -> Text:
    failed = line.span.error is not None
    remarks = line.remarks
    if line.wait and not is_wide:
        remarks = "; ".join(filter(None, (f"waited {line.wait.ms:.0f} ms: {line.wait.place}", remarks)))
    row = Text.assemble(
        (times, "bold yellow" if line.wait else "dim"),
        "  ",
        (f"{line.span.service:<{width}}", SERVICE_STYLES.get(line.span.service, "")),
        "  ",
        (line.guide if is_wide else line.guide[::2], "dim"),
        (f"{MARK} " if is_marked else "", "bold magenta"),
        (line.span.name if is_wide else short_name(line.span.name), "bold red" if failed else ""),
        (f"  [{remarks}]" if remarks else "", "bold red" if failed else "dim"),
    )
    row.no_wrap = True
    return row


def short_name(name: str) -> str:
    """A span's name without what the rest of it says too: an event's topic, a method's package."""
    return _PACKAGE.sub(r"\1", _TOPIC.sub(r"\1 \2", name))


def waits(lines: Sequence[Line]) -> Iterator[str]:
    """One sentence: what the waits add up to, place by place; none where nothing waited."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line.wait:
            found[line.wait.place].append(line.wait.ms)
    if found:
        told = (f"{sum(ms):.0f} ms in {place} ({len(ms)} {_SPANS[len(ms) > 1]})" for place, ms in found.items())
        yield f"Waited in all: {', '.join(told)}."
