"""The list of traces and the tree of one as plain text, for curl; every address in full."""

from collections.abc import Collection, Iterator, Sequence

from infra.local.span_details import KINDS, Detail
from infra.local.spans import Span
from infra.local.trace_list import EXAMINED_MAX, Summary
from infra.local.trace_tree import HEADING, Line, legend

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"

NONE = f"None is among the newest {EXAMINED_MAX:,} traces; one comes up to a second after what it tells of."


def list_text(summaries: Sequence[Summary], url: str, *, every: bool) -> str:
    """Two lines for each trace: what it is, and where."""
    return "".join(f"{line}\n" for line in _listed(summaries, url, every=every))


def tree_text(lines: Sequence[Line], spans: int, url: str, trace_id: str, show: Collection[str]) -> str:
    """A line for each span, below it what is to be shown of it, and in the end how to ask for more."""
    return "".join(f"{line}\n" for line in _drawn(lines, spans, url, trace_id, show))


def _listed(summaries: Sequence[Summary], url: str, *, every: bool) -> Iterator[str]:
    yield "Every trace, the newest first" if every else "Traces of orders, the newest first"
    yield ""
    name_width = max((len(summary.name) for summary in summaries), default=0)
    event_width = max((len(summary.last_event) for summary in summaries), default=0)
    for summary in summaries:
        failed = f"  {summary.failed} failed" if summary.failed else ""
        spans = "span " if summary.spans == 1 else "spans"
        yield (
            f"{summary.began:{TIME_FORMAT}}  {summary.name:<{name_width}}  {summary.last_event:<{event_width}}  "
            f"{summary.took_ms:8.1f} ms  {summary.spans:3} {spans}  {', '.join(summary.services)}{failed}"
        )
        order = f"  order {summary.order_id}" if summary.order_id else ""
        yield f"    {url}/trace/{summary.trace_id}{order}"
    if not summaries:
        yield NONE
    yield ""
    yield (
        f"Traces of orders: curl {url}/" if every else f"Every trace, those of polls and reads too: curl '{url}/?all=1'"
    )


def _drawn(lines: Sequence[Line], spans: int, url: str, trace_id: str, show: Collection[str]) -> Iterator[str]:
    width = max((len(line.span.service) for line in lines), default=0)
    yield f"{HEADING}  {'service':<{width}}  span"
    for line in lines:
        remarks = f"  [{line.remarks}]" if line.remarks else ""
        yield f"{line.times}  {line.span.service:<{width}}  {line.guide}{line.span.name}{remarks}"
        for detail in line.details:
            yield f"{'':{len(HEADING) + width + 4}}{line.below}  {detail.text}{_where(detail, line.span, url)}"
    yield ""
    if spans > len(lines):
        yield f"{spans - len(lines)} more spans are not drawn."
    yield from legend(lines)
    hidden = [kind for kind in KINDS if kind not in show]
    if hidden:
        yield f"More of each span: curl '{url}/trace/{trace_id}?show={','.join(KINDS)}'"
    yield f"Other orders: curl {url}/"


def _where(detail: Detail, span: Span, url: str) -> str:
    if detail.leads_to is None:
        return ""
    is_here = detail.leads_to.trace_id == span.trace_id
    return ", in this trace" if is_here else f", in {url}/trace/{detail.leads_to.trace_id}"
