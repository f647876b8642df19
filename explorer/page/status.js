// What an order's status looks like: a word and a glyph, and a colour that says no more than they do.

import { h } from "./dom.js";

export const STATUSES = ["PENDING", "CONFIRMED", "REJECTED", "CANCELLED"];
const GLYPHS = { PENDING: "◔", CONFIRMED: "✓", REJECTED: "✕", CANCELLED: "⊘" };

export function badge(status) {
  const glyph = h("span", { "aria-hidden": "true" }, GLYPHS[status] ?? "?");
  return h("span", { class: "badge", dataset: { status } }, glyph, " ", h("span", {}, status));
}

// Shows another status in the same badge.
export function rebadge(element, status) {
  element.dataset.status = status;
  element.firstElementChild.textContent = GLYPHS[status] ?? "?";
  element.lastElementChild.textContent = status;
}

// `PAYMENT_DECLINED` as words: "payment declined".
export function words(name) {
  return (name ?? "").toLowerCase().replaceAll("_", " ");
}
