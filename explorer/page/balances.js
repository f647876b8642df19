// What an order holds of the shop's money and goods: its payment with the ledger, and its reservation.

import { fill, h } from "./dom.js";
import { clock, money } from "./format.js";
import { words } from "./status.js";

export function drawBalances(container, { payment, reservation }) {
  fill(container,
    h("h3", {}, "Money"),
    payment === undefined && h("p", { class: "quiet" }, "Asking payment…"),
    payment === null && h("p", { class: "quiet" }, "Payment has not heard of this order."),
    payment && paid(payment),
    h("h3", {}, "Goods"),
    reservation === undefined && h("p", { class: "quiet" }, "Asking inventory…"),
    reservation === null && h("p", { class: "quiet" }, "Inventory has not heard of this order."),
    reservation && held(reservation));
}

function paid({ state, amount, refundPending, updateTime, ledgerEntries }) {
  const sum = ledgerEntries.reduce((total, entry) => total + BigInt(entry.amount.amountMinor), 0n);
  const currencyCode = amount?.currencyCode ?? ledgerEntries[0]?.amount.currencyCode;
  const isBalanced = sum === 0n;
  return [
    h("p", {}, h("b", {}, state), amount ? ` ${money(amount)}` : "", ` since ${clock(updateTime)}`,
      refundPending && h("span", { class: "waits" }, " ! the money is asked back and not given back yet")),
    ledgerEntries.length === 0 ? h("p", { class: "quiet small" }, "The ledger has no entry of it: no money moved.") : h("table", { class: "numbers" },
      h("caption", { class: "sr-only" }, "Entries in the ledger"),
      h("thead", {}, h("tr", {}, ["Posting", "Account", "Amount"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ledgerEntries.map((entry) =>
        h("tr", {}, h("td", {}, words(entry.posting)), h("td", {}, words(entry.account)), h("td", {}, money(entry.amount))))),
      h("tfoot", {}, h("tr", { class: isBalanced ? "" : "fault" },
        h("th", { scope: "row", colspan: "2" }, isBalanced ? "✓ The sum is zero" : "✕ The sum is not zero"),
        h("td", {}, money({ amountMinor: String(sum), currencyCode }))))),
  ];
}

function held({ state, lines, total, updateTime }) {
  return [
    h("p", {}, h("b", {}, state), ` since ${clock(updateTime)}`),
    lines.length > 0 && h("table", { class: "numbers" },
      h("caption", { class: "sr-only" }, "Lines of the reservation"),
      h("thead", {}, h("tr", {}, ["Article", "Quantity", "Each"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, lines.map(({ sku, quantity, unitPrice }) =>
        h("tr", {}, h("td", {}, sku), h("td", {}, String(quantity)), h("td", {}, money(unitPrice))))),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row", colspan: "2" }, "Total"), h("td", {}, money(total))))),
  ];
}
