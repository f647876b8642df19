// What the views of an order and of a trace share: spans, one of which is open beside them, by the address.

import { SpanPanel } from "./span.js";
import { Waterfall } from "./waterfall.js";

export class SpanView {
  // `path` is the view's address, `spans()` gives those that it shows, `rows` is where they stand as rows.
  constructor(path, { span }, spans, rows, signal) {
    const address = (spanId) => (spanId ? `${path}/${spanId}` : path);
    this.selected = span;
    this.panel = new SpanPanel({ spans, address, signal });
    this.open = (each) => this.panel.goTo(typeof each === "string" ? each : each.id);
    this.follow = (link) => (location.hash = this.panel.linked(link));
    this.waterfall = new Waterfall(rows, this.open);
  }

  // Another span is to be shown, or none.
  move({ span }) {
    this.selected = span;
    if (span) this.panel.open(span);
    else this.panel.close();
    this.draw();
  }
}
