// The list of orders: live, and searched by id, customer and status.

import { fill, h, write } from "./dom.js";
import { plural, ZONE } from "./format.js";
import { coalesced, pause, whileVisible } from "./live.js";
import { Rows } from "./order_rows.js";
import { isOrderId, OrderStore, ROWS_MAX } from "./order_store.js";
import { STATUSES } from "./status.js";

const POLL_MS = 1000;
const RETRY_MS = 2000;
const TYPING_MS = 250;
const COLUMNS = ["Status", "Order", "Customer", "Lines", "Total", "Placed"];

export function showOrders(container, signal) {
  const store = new OrderStore();
  const parts = frame(store, () => refresh(), signal);
  fill(container, parts.head, parts.said, parts.table, parts.foot);
  const rows = new Rows(parts.body, signal);
  const refresh = coalesced(async () => {
    parts.problem = await store.refresh(signal).then(() => null, (error) => error);
    if (!signal.aborted) draw();
  });

  function draw() {
    const orders = store.shown();
    rows.show(orders);
    write(parts.said, sentence(parts.problem, store, orders));
    write(parts.count, `${plural(orders.length, "order")}${orders.length === ROWS_MAX ? ", the newest" : ""}. Times are ${ZONE}.`);
    parts.older.hidden = !store.hasOlder;
    parts.table.hidden = orders.length === 0;
  }

  parts.older.addEventListener("click", async () => {
    parts.older.disabled = true;
    parts.problem = await store.older(signal).then(() => null, (error) => error);
    parts.older.disabled = false;
    if (!signal.aborted) draw();
  });
  // What is loaded already is searched at once, the shop when the reader has stopped typing.
  parts.form.addEventListener("input", draw);
  poll(refresh, parts, signal);
}

async function poll(refresh, parts, signal) {
  await whileVisible(signal, async (seen) => {
    for (;;) {
      await refresh();
      await pause(parts.problem ? RETRY_MS : POLL_MS, seen);
    }
  });
}

function frame(store, refresh, signal) {
  const count = h("span", { class: "quiet small" });
  const form = search(store, refresh, signal);
  const body = h("div", { role: "presentation", class: "order-rows" });
  const head = h("div", { role: "row", class: "order-heads" }, COLUMNS.map(
    (name) => h("div", { role: "columnheader", class: name.toLowerCase() }, name)));
  const table = h("div", { role: "table", "aria-labelledby": "orders-title", class: "table", hidden: true },
    h("div", { role: "rowgroup" }, head),
    body);
  const older = h("button", { type: "button", hidden: true }, "Show older orders");
  return {
    head: h("div", { class: "list-head" }, h("h2", { id: "orders-title" }, "The newest first"), form),
    said: h("p", { class: "said", role: "status" }, "Asking the shop…"),
    foot: h("p", { class: "list-foot" }, count, older),
    ...{ form, table, body, older, count, problem: null },
  };
}

function search(store, refresh, signal) {
  const text = h("input", { type: "search", id: "find", placeholder: "id or customer", autocomplete: "off", spellcheck: "false" });
  const status = h("select", { id: "find-status" }, h("option", { value: "" }, "any status"),
    STATUSES.map((name) => h("option", { value: name }, name)));
  let typing = 0;
  function changed() {
    store.text = text.value.trim();
    store.status = status.value;
    clearTimeout(typing);
    typing = setTimeout(() => !signal.aborted && refresh(), TYPING_MS);
  }
  function entered(event) {
    event.preventDefault();
    if (isOrderId(text.value.trim())) location.hash = `#/orders/${text.value.trim().toLowerCase()}`;
    else changed();
  }
  return h("form", { role: "search", class: "search", onsubmit: entered, oninput: changed },
    h("label", { for: "find" }, "Find"), text, h("label", { for: "find-status" }, "in"), status);
}

function sentence(problem, store, orders) {
  if (problem?.isAway) return "The shop does not answer; trying again…";
  if (problem) return `The list could not be read: ${problem.message}`;
  if (store.isUnknown) return `No order has the id ${store.text}.`;
  if (orders.length) return "";
  return store.text || store.status ? "No order is like that." : "There is no order yet. Place one.";
}
