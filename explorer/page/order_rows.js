// The rows of the list: each order has one, which is changed where it stands. A frame does only as much as it has time for.
//
// newest ▸ block of up to 20 rows ▸ block … ▸ oldest: a block out of sight is not laid out, however many there are

import { h, write } from "./dom.js";
import { duration, instant, moment, money } from "./format.js";
import { badge, rebadge, words } from "./status.js";

// A frame has 16 ms, and the browser needs most of them.
const FRAME_MS = 4;
// Of rows that push the others down.
const INSERTS_MAX = 4;
const BLOCK_ROWS = 20;

export class Rows {
  #rows = new Map();
  #wanted = [];
  #frame = 0;

  constructor(container, signal) {
    this.container = container;
    signal.addEventListener("abort", () => cancelAnimationFrame(this.#frame));
  }

  // Shows these orders, in this order, from the next frame on.
  show(orders) {
    this.#wanted = orders;
    this.#go();
  }

  #go() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#remove();
      // What is in place already is passed in no time when the rest is drawn.
      if (!this.#place()) this.#go();
    });
  }

  #remove() {
    const kept = new Set(this.#wanted.map(({ orderId }) => orderId));
    for (const [orderId, { element }] of this.#rows) {
      if (kept.has(orderId)) continue;
      const block = element.parentElement;
      element.remove();
      if (block.childElementCount) sized(block);
      else block.remove();
      this.#rows.delete(orderId);
    }
  }

  // Whether all rows are in their places and say what is so.
  #place() {
    const end = performance.now() + FRAME_MS;
    let inserts = 0;
    let next = this.container.firstElementChild?.firstElementChild ?? null;
    for (const order of this.#wanted) {
      const row = this.#rows.get(order.orderId) ?? this.#made(order);
      if (row.element === next) next = following(next);
      else if (next && inserts++ === INSERTS_MAX) return false;
      else this.#insert(row.element, next);
      row.update(order);
      if (performance.now() > end) return false;
    }
    return true;
  }

  #insert(element, next) {
    let block = next?.parentElement ?? this.container.lastElementChild;
    // At the top, or behind the end; in between, a block may hold a row more.
    const isFull = block?.childElementCount >= BLOCK_ROWS && (!next || next === this.container.firstElementChild.firstElementChild);
    if (!block || isFull) {
      block = h("div", { role: "rowgroup", class: "order-block" });
      this.container.insertBefore(block, next?.parentElement ?? null);
      next = null;
    }
    const before = element.parentElement;
    block.insertBefore(element, next);
    sized(block);
    if (before && before !== block) before.childElementCount ? sized(before) : before.remove();
  }

  #made(order) {
    const row = made(order);
    this.#rows.set(order.orderId, row);
    return row;
  }
}

function following(element) {
  return element.nextElementSibling ?? element.parentElement.nextElementSibling?.firstElementChild ?? null;
}

// A block that is not laid out is as high as its rows are.
function sized(block) {
  block.style.setProperty("--rows", String(block.childElementCount));
}

function made(order) {
  const status = badge(order.status);
  const reason = h("span", { class: "small quiet" });
  const total = cell("total", "");
  const took = h("span", { class: "small quiet" });
  const at = h("time", { datetime: order.createTime }, moment(order.createTime));
  const lines = order.lines.map(({ sku, quantity }) => `${quantity} × ${sku}`).join(", ");
  const element = h("div", { class: "order-row", role: "row", dataset: { orderId: order.orderId } },
    cell("status", status, reason),
    cell("id", h("a", { href: `#/orders/${order.orderId}`, class: "mono" }, order.orderId)),
    cell("customer", order.customerId),
    h("div", { role: "cell", class: "lines", title: lines }, lines),
    total,
    cell("at", at, took));
  let shown = "";
  function update(now) {
    const state = now.status + now.updateTime + (now.reason ?? "") + (now.total?.amountMinor ?? "");
    if (now.status === "PENDING") write(took, `for ${age(Date.now() - instant(now.createTime))}`);
    if (state === shown) return;
    shown = state;
    rebadge(status, now.status);
    write(reason, words(now.reason));
    write(total, money(now.total));
    if (now.status !== "PENDING") write(took, `after ${duration(instant(now.updateTime) - instant(now.createTime))}`);
  }
  return { element, update };
}

function cell(name, ...children) {
  return h("div", { role: "cell", class: name }, children);
}

// How long an order runs, in whole seconds: it is written again with each poll.
function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 100 ? `${seconds} s` : duration(seconds * 1000);
}
