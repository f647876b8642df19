// The front view: place an order, see what waits, follow the list.

import { fill, h } from "./dom.js";
import { showOrders } from "./orders.js";
import { showPlacing } from "./placing.js";
import { showWaiting } from "./waiting.js";

export function show(container, _parameters, signal) {
  document.title = "Orders · Shop explorer";
  const placing = h("section", { class: "panel placing", "aria-labelledby": "placing-title" });
  const waiting = h("section", { class: "panel waiting", "aria-labelledby": "waiting-title" });
  const orders = h("section", { class: "orders", "aria-labelledby": "orders-title" });
  fill(container, h("h1", { tabindex: "-1" }, "Orders"),
    h("p", { class: "quiet" }, "Every order, while it runs. Open one to see who asked whom, and what was undone."),
    h("div", { class: "front" }, placing, waiting, orders));
  showPlacing(placing, signal);
  showWaiting(waiting, signal);
  showOrders(orders, signal);
}
