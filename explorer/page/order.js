// One order: what it is, the six answers, the diagram, and everything beside it; all of it kept true by the feed.

import { read } from "./api.js";
import { answers, drawAnswers } from "./answers.js";
import { announce } from "./announce.js";
import { drawBalances } from "./balances.js";
import { drawDiagram } from "./diagram.js";
import { fill, h, keepingFocus } from "./dom.js";
import { Feed } from "./feed.js";
import { eachFrame } from "./live.js";
import { drawConnection, drawHead, drawState, orderFrame } from "./order_head.js";
import { drawSaga } from "./saga.js";
import { SpanView } from "./span_view.js";
import { tell } from "./story.js";
import { drawTimeline } from "./timeline.js";

export function show(container, parameters, signal) {
  return new OrderView(container, parameters, signal);
}

class OrderView extends SpanView {
  #drawn = new Map();
  #announced = "";

  constructor(container, parameters, signal) {
    const id = parameters.id.toLowerCase();
    const feed = new Feed(id, eachFrame(() => this.draw(), signal), signal);
    const parts = orderFrame(id, feed);
    super(`#/orders/${id}`, parameters, () => feed.spans, parts.waterfall, signal);
    Object.assign(this, { id, container, feed, parts });
    document.title = `Order ${id} · Shop explorer`;
    fill(container, parts.view);
    feed.run();
    if (this.selected) this.panel.open(this.selected);
  }

  draw() {
    const { feed, parts } = this;
    if (feed.problem) return this.#drawProblem(feed.problem);
    if (!feed.order) return drawConnection(parts, feed.connection);
    const { order, saga, table, payment, reservation, entries, spans, settings, traces } = feed;
    drawHead(parts, feed);
    drawState(parts, feed);
    const selected = spans.find(({ id }) => id === this.selected);
    const seen = { order, saga, table, payment, reservation, entries, spans, settings, selected };
    this.#once("answers", Object.values(seen), () => drawAnswers(parts.answers, answers(seen), { open: this.open }));
    this.#once("diagram", [spans, entries, this.selected], () =>
      drawDiagram(parts.diagram, tell(spans, entries), { open: this.open, follow: this.follow, selected: this.selected }));
    this.#once("timeline", [entries, this.selected], () => drawTimeline(parts.timeline, entries, this.open, this.selected));
    this.#once("saga", [saga, table, entries, spans], () => drawSaga(parts.saga, feed));
    this.#once("balances", [payment, reservation, order], () => drawBalances(parts.balances, feed));
    this.#once("waterfall", [spans, this.selected, traces.size], () => this.waterfall.draw(spans, traces, this.selected));
    this.#once("panel", [spans, settings], () => this.panel.redraw(settings));
    this.#announce(order.status);
    return undefined;
  }

  // Draws a part if what it shows has changed; who stands in it stays there.
  #once(name, inputs, drawPart) {
    const before = this.#drawn.get(name);
    if (before && inputs.every((input, index) => input === before[index])) return;
    this.#drawn.set(name, inputs);
    keepingFocus(this.parts[name] ?? this.container, drawPart);
  }

  #announce(status) {
    document.title = `${status} · order ${this.id} · Shop explorer`;
    if (this.#announced && this.#announced !== status) announce(`The order is ${status}.`);
    this.#announced = status;
  }

  // An operator may have called services about an order that nobody placed.
  async #linkTraces(element) {
    const { traces } = await read(`/explorer/orders/${this.id}/traces`).catch(() => ({ traces: [] }));
    fill(element, traces.map(({ traceId, title }) => ["There is ", h("a", { href: `#/traces/${traceId}` }, title), ". "]));
  }

  #drawProblem({ isAbsent, status, message }) {
    const isUnknown = isAbsent || status === 400;
    document.title = `${isUnknown ? "Unknown order" : "Order"} · Shop explorer`;
    this.panel.close();
    const traces = h("p", {});
    if (isAbsent) this.#linkTraces(traces);
    fill(this.container, h("h1", { tabindex: "-1" }, isUnknown ? "Unknown order" : "The order could not be read"),
      h("p", { role: "status" }, isUnknown
        ? ["The shop has no order with the id ", h("code", {}, this.id), ". An embedded shop forgets its orders when it stops."]
        : message), traces,
      h("p", {}, h("a", { href: "#/" }, "To the orders")));
  }
}
