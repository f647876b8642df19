"""The list of traces and the tree of one as pages for a browser: no script, nothing loaded, every word escaped."""

import base64
import hashlib
from collections.abc import Collection, Iterator, Sequence
from html import escape
from typing import Final

from infra.local.span_details import KINDS, Detail
from infra.local.spans import Span
from infra.local.trace_list import Summary
from infra.local.trace_text import NONE, TIME_FORMAT
from infra.local.trace_tree import HEADING, Line, legend

_STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 1.5rem; }
h1 { font-size: 1.3rem; }
table { border-collapse: collapse; }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid; }
th:last-child, td:last-child { white-space: normal; padding-right: 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { font: 13px/1.5 ui-monospace, monospace; overflow-x: auto; }
pre i { opacity: .65; font-style: normal; }
.failed { color: light-dark(#b00020, #ff6b7d); font-weight: 600; }
:target { outline: 2px solid; }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def list_page(summaries: Sequence[Summary], *, every: bool) -> str:
    title = "Every trace" if every else "Traces of orders"
    other = (
        '<a href="/">orders only</a>' if every else '<a href="/?all=1">every trace, those of polls and reads too</a>'
    )
    return _page(title, f"<p>The newest first; {other}.</p>", *(_table(summaries) if summaries else [f"<p>{NONE}</p>"]))


def tree_page(lines: Sequence[Line], spans: int, trace_id: str, show: Collection[str]) -> str:
    order_ids = {line.span.attributes.get("shop.order.id") for line in lines} - {None}
    about = f"Trace {trace_id}" + (f", order {order_ids.pop()}" if len(order_ids) == 1 else "")
    left_out = [f"{spans - len(lines)} more spans are not drawn."] if spans > len(lines) else []
    return _page(
        about,
        f'<p><a href="/">Other orders</a> · {_switches(trace_id, show)} · '
        f'<a href="/api/v3/traces/{trace_id}">as JSON</a></p>',
        f"<pre>{''.join(_drawn(lines))}</pre>",
        *(f"<p>{escape(sentence)}</p>" for sentence in (*left_out, *legend(lines))),
    )


def _page(title: str, *body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{"".join(body)}
</body>
</html>
"""


def _table(summaries: Sequence[Summary]) -> Iterator[str]:
    headers = ("began", "request", "last event", "order", "took ms", "spans", "failed", "services")
    yield f"<table><tr>{''.join(f'<th>{header}</th>' for header in headers)}</tr>"
    for summary in summaries:
        failed = f'<td class="number failed">{summary.failed}</td>' if summary.failed else "<td></td>"
        yield (
            f"<tr><td>{summary.began:{TIME_FORMAT}}</td>"
            f'<td><a href="/trace/{summary.trace_id}">{escape(summary.name)}</a></td>'
            f"<td>{escape(summary.last_event)}</td><td>{escape(summary.order_id)}</td>"
            f'<td class="number">{summary.took_ms:.1f}</td><td class="number">{summary.spans}</td>{failed}'
            f"<td>{escape(', '.join(summary.services))}</td></tr>\n"
        )
    yield "</table>"


def _switches(trace_id: str, show: Collection[str]) -> str:
    """For each kind of details a link that shows it, or hides it."""
    links: list[str] = []
    for kind in KINDS:
        then = ",".join(other for other in KINDS if (other in show) != (other == kind))
        query = f"?show={then}" if then else ""
        links.append(f'<a href="/trace/{trace_id}{query}">{"hide" if kind in show else "show"} {kind}</a>')
    return " · ".join(links)


def _drawn(lines: Sequence[Line]) -> Iterator[str]:
    width = max((len(line.span.service) for line in lines), default=0)
    yield f"<i>{HEADING}  {'service':<{width}}  span</i>\n"
    for line in lines:
        name = f'<span id="{line.span.id}"{_class(line)}>{escape(line.span.name)}</span>'
        remarks = f"  <span{_class(line)}>[{escape(line.remarks)}]</span>" if line.remarks else ""
        yield f"{line.times}  {escape(f'{line.span.service:<{width}}')}  <i>{line.guide}</i>{name}{remarks}\n"
        for detail in line.details:
            indent = f"{'':{len(HEADING) + width + 4}}{line.below}"
            yield f"<i>{indent}  </i>{_detail(detail, line.span)}\n"


def _class(line: Line) -> str:
    return ' class="failed"' if line.span.error is not None else ""


def _detail(detail: Detail, span: Span) -> str:
    link = detail.leads_to
    if link is None:
        return escape(detail.text)
    where = "" if link.trace_id == span.trace_id else f"/trace/{link.trace_id}"
    return f'<a href="{where}#{link.span_id}">{escape(detail.text)}</a>'
