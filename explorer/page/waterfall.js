// The spans of an order's traces as rows, each below its parent, with bars for their times; a row hides what is below it.

import { fill, h } from "./dom.js";
import { duration } from "./format.js";

export class Waterfall {
  #folded = new Set();
  #rows = [];
  #current = "";
  #drawn = null;

  constructor(container, open) {
    this.open = open;
    this.grid = h("div", { role: "treegrid", class: "waterfall", "aria-labelledby": "waterfall-panel-title", onkeydown: (event) => this.#pressed(event) });
    this.none = h("p", { class: "quiet" }, "No span has come yet.");
    this.rest = h("div", { hidden: true },
      h("div", { class: "actions" },
        h("button", { type: "button", onclick: () => this.#foldSteps() }, "Fold to steps"),
        h("button", { type: "button", onclick: () => this.#fold(new Set()) }, "Unfold all")),
      this.grid);
    fill(container, this.none, this.rest);
  }

  // `traces` names each trace by its id: `{title}`; those of which no span is known are left out.
  draw(spans, traces, selected) {
    this.#drawn = { spans, traces, selected };
    this.#rows = rowsOf(spans, traces);
    if (!this.#rows.some(({ key }) => key === this.#current)) this.#current = this.#rows[0]?.key ?? "";
    this.none.hidden = this.#rows.length > 0;
    this.rest.hidden = !this.none.hidden;
    this.#render();
  }

  #render() {
    const { selected } = this.#drawn;
    fill(this.grid, header(), this.#visible().map((row) => this.#row(row, selected)));
  }

  #visible() {
    const hidden = new Set();
    return this.#rows.filter(({ key, parent }) => {
      const isHidden = hidden.has(parent) || this.#folded.has(parent);
      if (isHidden) hidden.add(key);
      return !isHidden;
    });
  }

  #row(row, selected) {
    const { key, level, span, title, hasBelow } = row;
    const expanded = hasBelow ? String(!this.#folded.has(key)) : null;
    const toggle = hasBelow && h("button", { type: "button", class: "fold", tabindex: "-1", "aria-expanded": expanded, "aria-label": `What is below ${span?.name ?? title}`, onclick: () => this.#toggle(key) },
      this.#folded.has(key) ? "▸" : "▾");
    const properties = {
      role: "row", class: span ? "fall" : "fall fall-trace", "aria-level": String(level), "aria-expanded": expanded,
      "aria-selected": span ? String(span.id === selected) : null, tabindex: key === this.#current ? "0" : "-1",
      dataset: { key, ...(span ? { span: span.id } : {}) },
      onclick: (event) => {
        if (!span || event.target.closest(".fold")) return;
        this.#current = key;
        this.open(span);
      },
    };
    return h("div", properties, span ? cells(row, toggle) : h("div", { role: "gridcell", class: "fall-name" }, toggle, h("b", {}, title)));
  }

  #toggle(key) {
    if (this.#folded.has(key)) this.#folded.delete(key);
    else this.#folded.add(key);
    this.#current = key;
    this.#fold(this.#folded);
    this.#focus(key);
  }

  #fold(folded) {
    this.#folded = folded;
    if (this.#drawn) this.#render();
  }

  // Open stay the traces, their roots, and the order's span: what is left are the steps.
  #foldSteps() {
    const steps = this.#rows.filter(({ level, hasBelow }) => hasBelow && level > STEP_LEVEL);
    this.#fold(new Set(steps.map(({ key }) => key)));
  }

  #focus(key) {
    this.#current = key;
    for (const row of this.grid.querySelectorAll('[role="row"][data-key]')) {
      row.tabIndex = row.dataset.key === key ? 0 : -1;
      if (row.dataset.key === key) row.focus();
    }
  }

  #pressed(event) {
    const visible = this.#visible();
    const index = visible.findIndex(({ key }) => key === this.#current);
    const row = visible[index];
    const isFolded = this.#folded.has(row?.key);
    const open = () => void (row.span && this.open(row.span));
    const moves = {
      ArrowDown: () => visible[index + 1]?.key,
      ArrowUp: () => visible[index - 1]?.key,
      Home: () => visible[0]?.key,
      End: () => visible.at(-1)?.key,
      // Unfolds what is folded, else goes below; folds what is unfolded, else goes to the parent.
      ArrowRight: () => row.hasBelow && (isFolded ? this.#toggle(row.key) : visible[index + 1].key),
      ArrowLeft: () => (row.hasBelow && !isFolded ? this.#toggle(row.key) : row.parent),
      ...{ Enter: open, " ": open },
    };
    if (!moves[event.key] || event.target.closest("button")) return;
    event.preventDefault();
    const next = moves[event.key]();
    if (next) this.#focus(next);
  }
}

// The trace's row, the POST, the call, the order's span.
const STEP_LEVEL = 4;

function header() {
  return h("div", { role: "row", class: "fall fall-head" },
    ["Span", "Service", "Took", "When"].map((name) => h("div", { role: "columnheader" }, name)));
}

function cells({ span, level, from, part }, toggle) {
  const failed = span.error !== null;
  return [
    h("div", { role: "gridcell", class: "fall-name", style: { "--level": String(level - 1) } }, toggle,
      h("span", { class: "fall-text" }, failed && h("span", { class: "fault" }, "✕ "), span.name)),
    h("div", { role: "gridcell", class: "small quiet" }, span.service),
    h("div", { role: "gridcell", class: "small number" }, duration(span.end - span.start)),
    h("div", { role: "gridcell", class: "fall-bar" },
      h("span", { class: "bar", dataset: { kind: kindOf(span) }, style: { "--from": `${from}%`, "--part": `${part}%` } })),
  ];
}

// The colour of a bar: what the span is to the saga.
function kindOf({ name, kind, error, attributes }) {
  if (error !== null) return "fault";
  if (attributes["shop.saga.direction"] === "compensate") return "undo";
  if (kind === "PRODUCER" || kind === "CONSUMER" || name.startsWith("send ")) return "heard";
  return kind === "SERVER" || kind === "CLIENT" ? "ask" : "quiet";
}

// All rows from the top: a row for each trace if there are several, its spans below, each with its place on the time axis.
function rowsOf(spans, traces) {
  const rows = [];
  const ids = [...new Set([...traces.keys(), ...spans.map(({ traceId }) => traceId)])];
  for (const traceId of ids) {
    const own = spans.filter((span) => span.traceId === traceId);
    if (!own.length) continue;
    const title = `Trace of ${traces.get(traceId)?.title || "what came later"}`;
    rows.push({ key: traceId, parent: "", level: 1, span: null, title, hasBelow: true });
    rows.push(...below(own, traceId));
  }
  return rows;
}

function below(spans, traceId) {
  const begin = Math.min(...spans.map(({ start }) => start));
  const length = Math.max(...spans.map(({ end }) => end)) - begin || 1;
  const known = new Set(spans.map(({ id }) => id));
  const children = Map.groupBy(spans, ({ parentId }) => (known.has(parentId) ? parentId : ""));
  const rows = [];
  // Not by recursion, for a trace may be any depth.
  const waiting = (children.get("") ?? []).map((span) => [span, traceId, 2]).reverse();
  while (waiting.length) {
    const [span, parent, level] = waiting.pop();
    const own = children.get(span.id) ?? [];
    const from = (100 * (span.start - begin)) / length;
    const part = (100 * (span.end - span.start)) / length;
    rows.push({ key: span.id, parent, level, span, hasBelow: own.length > 0, from, part });
    waiting.push(...own.map((child) => [child, span.id, level + 1]).reverse());
  }
  return rows;
}
