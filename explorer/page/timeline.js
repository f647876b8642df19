// The timeline: each fact of an order as its service wrote or heard it, oldest first; it only grows.

import { h } from "./dom.js";
import { clock, duration, instant, short } from "./format.js";
import { badge } from "./status.js";

// `open(spanId)` is called with the span in which an entry was applied.
export function drawTimeline(list, entries, open, selected) {
  for (const entry of entries.slice(list.childElementCount)) list.append(row(entry, entries, open));
  for (const button of list.querySelectorAll("button"))
    button.ariaCurrent = button.dataset.span === selected ? "true" : null;
}

function row(entry, entries, open) {
  const at = instant(entry.time);
  const before = entries[Number(entry.position) - 2];
  const since = duration(at - instant(entries[0].time));
  return h("li", { dataset: { position: entry.position } },
    h("time", { datetime: entry.time, class: "mono small" }, clock(at)),
    h("div", {},
      h("button", { type: "button", class: "plain", onclick: () => open(entry.spanId), dataset: { span: entry.spanId } }, short(entry.event)),
      " ",
      h("span", { class: "small quiet" }, entry.service, entry.position === "1" ? "" : ` · +${since}`),
      entry.detail && h("p", { class: "small detail" }, entry.detail),
      before?.status !== entry.status && h("p", { class: "small" }, badge(entry.status))));
}
