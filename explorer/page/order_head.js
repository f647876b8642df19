// The head of an order's view: its status, its facts, what one can do with it, the state of its trace.

import { fill, h, write } from "./dom.js";
import { clock, day, duration, instant, money, ZONE } from "./format.js";
import { cancel, placedBy, repeat } from "./placing.js";
import { traceLink } from "./settings.js";
import { badge, rebadge, words } from "./status.js";

const CONNECTIONS = {
  opening: "Asking the shop…",
  away: "The shop does not answer; trying again…",
};

// All elements of the view, empty.
export function orderFrame(orderId, feed) {
  const parts = {
    badge: badge("PENDING"), facts: h("dl", { class: "facts" }), actions: h("div", { class: "actions" }),
    said: h("p", { class: "said", role: "status" }, CONNECTIONS.opening), done: h("p", { class: "done", role: "status" }),
    state: h("span", {}), again: h("button", { type: "button", hidden: true, onclick: () => feed.lookAgain() }, "Look again"),
    answers: h("div", {}), diagram: h("div", { class: "diagram-box" }), timeline: h("ol", { class: "timeline" }),
    saga: h("div", {}), balances: h("div", { class: "balances" }), waterfall: h("div", {}),
    buttons: null,
  };
  parts.badge.hidden = true;
  parts.view = h("div", { class: "order" },
    h("header", { class: "order-head" },
      h("p", { class: "crumb small" }, h("a", { href: "#/" }, "Orders"), " › one order"),
      h("h1", { tabindex: "-1" }, parts.badge, " Order ", h("span", { class: "mono order-id" }, orderId)),
      parts.facts, parts.actions, parts.done, parts.said,
      h("p", { class: "trace-state" }, h("span", { role: "status" }, parts.state), " ", parts.again)),
    panel("answers", "Six questions", parts.answers),
    h("div", { class: "order-grid" },
      panel("drawing", "Who asked whom", parts.diagram),
      h("div", { class: "side" },
        panel("timeline-panel", "Timeline", parts.timeline),
        panel("balances-panel", "Money and goods", parts.balances))),
    panel("saga-panel", "The saga", parts.saga),
    panel("waterfall-panel", "Every span", parts.waterfall));
  return parts;
}

export function panel(name, title, ...children) {
  const id = `${name}-title`;
  return h("section", { class: `panel ${name}`, "aria-labelledby": id }, h("h2", { id }, title), children);
}

export function drawHead(parts, feed) {
  const { order, connection, settings } = feed;
  rebadge(parts.badge, order.status);
  parts.badge.hidden = false;
  const key = order.updateTime + order.status + (order.total?.amountMinor ?? "");
  if (parts.facts.dataset.shown !== key) {
    parts.facts.dataset.shown = key;
    fill(parts.facts, facts(order));
  }
  parts.buttons ??= actions(parts, feed, settings);
  parts.buttons.cancel.disabled = ["REJECTED", "CANCELLED"].includes(order.status);
  drawConnection(parts, connection);
}

export function drawConnection({ said }, connection) {
  write(said, CONNECTIONS[connection] ?? "");
}

function facts(order) {
  const took = instant(order.updateTime) - instant(order.createTime);
  const since = order.status === "PENDING" ? "" : ` (${duration(took)} later)`;
  const rows = [
    ["Why", words(order.reason)],
    ["Customer", order.customerId],
    ["Lines", order.lines.map(({ sku, quantity }) => `${quantity} × ${sku}`).join(", ")],
    ["Total", money(order.total) || "not known yet"],
    ["Placed", `${day(order.createTime)}, ${clock(order.createTime)}`],
    ["Last change", `${clock(order.updateTime)}${since}`],
    ["Times are", ZONE],
  ];
  return rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

function actions(parts, feed, settings) {
  const doing = (what) => async () => {
    fill(parts.done, await what(feed.orderId));
    feed.lookAgain();
  };
  const cancelButton = h("button", { type: "button", onclick: doing(cancel) }, "Cancel the order");
  const again = placedBy(feed.orderId) &&
    h("button", { type: "button", onclick: doing(repeat), title: "With the same Idempotency-Key" }, "Send the same request again");
  fill(parts.actions, cancelButton, again, traceLink(settings, feed.order.traceId));
  return { cancel: cancelButton };
}

export function drawState(parts, { state, isLooking }) {
  if (!state) return;
  write(parts.state, state.sentence);
  parts.state.closest(".trace-state").dataset.traceState = state.name;
  parts.again.hidden = isLooking || state.isWhole;
}
