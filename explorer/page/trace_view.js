// One trace, whatever it is of: diagram, rows and panel as an order has.

import { answers, drawAnswers } from "./answers.js";
import { read } from "./api.js";
import { drawDiagram } from "./diagram.js";
import { fill, h, keepingFocus } from "./dom.js";
import { clock, day, plural, ZONE } from "./format.js";
import { pause } from "./live.js";
import { panel } from "./order_head.js";
import { settings, traceLink } from "./settings.js";
import { SpanView } from "./span_view.js";
import { traceState } from "./state.js";
import { tell } from "./story.js";
import { readSpans } from "./trace.js";

const RETRY_MS = 1000;
// A trace that is not there may be on its way.
const TRIES = 10;

export function show(container, parameters, signal) {
  return new TraceView(container, parameters, signal);
}

class TraceView extends SpanView {
  spans = [];
  since = new Date().toISOString();

  constructor(container, parameters, signal) {
    const { id } = parameters;
    const rows = h("div", {});
    super(`#/traces/${id}`, parameters, () => this.spans, rows, signal);
    Object.assign(this, { id, signal });
    document.title = `Trace ${id} · Shop explorer`;
    this.about = h("div", {});
    this.state = h("p", { class: "trace-state", role: "status" }, "Asking the trace store…");
    this.diagram = h("div", { class: "diagram-box" });
    this.answers = h("div", {});
    fill(container, h("div", { class: "order" },
      h("header", { class: "order-head" }, h("p", { class: "crumb small" }, h("a", { href: "#/" }, "Orders"), " › one trace"),
        h("h1", { tabindex: "-1" }, "Trace ", h("span", { class: "mono order-id" }, id)), this.about, this.state),
      panel("answers", "Six questions", this.answers),
      panel("drawing", "Who asked whom", this.diagram),
      panel("waterfall-panel", "Every span", rows)));
    if (this.selected) this.panel.open(this.selected);
    this.#run();
  }

  async #run() {
    try {
      for (let tries = 1; ; tries++) {
        const problem = await this.#ask();
        if (!problem || tries === TRIES) return;
        await pause(RETRY_MS, this.signal);
      }
    } catch (error) {
      if (!this.signal.aborted) throw error;
    }
  }

  async #ask() {
    try {
      this.settings = await settings(this.signal);
      this.spans = readSpans(await read(`/explorer/traces/${this.id}`, this.signal));
      this.draw();
      return null;
    } catch (error) {
      this.signal.throwIfAborted();
      this.#say(error);
      return error;
    }
  }

  #say(problem) {
    if (!this.settings) {
      fill(this.state, "The shop does not answer; trying again…");
      return;
    }
    // Nothing is known of it but that it was asked for.
    const order = { status: "", createTime: this.since };
    const { spans, settings: known } = this;
    const seen = { order, entries: [], spans, problem: problem.reason, settings: known, now: Date.now() };
    fill(this.state, traceState(seen).sentence);
  }

  draw() {
    const { spans, selected } = this;
    if (!spans.length) return;
    fill(this.state, `${plural(spans.length, "span")}.`);
    this.state.dataset.traceState = "whole";
    const orders = [...new Set(spans.map(({ attributes }) => attributes["shop.order.id"]).filter(Boolean))];
    fill(this.about,
      h("p", {}, `Began on ${day(spans[0].start)} at ${clock(spans[0].start)} (${ZONE}). `,
        traceLink(this.settings, this.id)),
      orders.length > 0 && h("p", {}, "It is about ", orders.map((order, index) =>
        [index > 0 && ", ", h("a", { href: `#/orders/${order}` }, "order ", h("span", { class: "mono" }, order))]), "."));
    const seen = { order: null, spans, settings: this.settings, selected: spans.find(({ id }) => id === selected) };
    keepingFocus(this.answers, () => drawAnswers(this.answers, answers(seen), { open: this.open }));
    keepingFocus(this.diagram, () => drawDiagram(this.diagram, tell(spans, []), { open: this.open, follow: this.follow, selected }));
    keepingFocus(this.waterfall.grid, () => this.waterfall.draw(spans, new Map([[this.id, { title: plural(spans.length, "span") }]]), selected));
    this.panel.redraw(this.settings);
  }
}
