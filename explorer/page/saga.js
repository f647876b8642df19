// The saga's table, as the order service gives it: the current step, and the rows that this order took.

import { breakable, fill, h } from "./dom.js";
import { clock, short } from "./format.js";

const TURN = /^saga (heard|deadline|cancel|retry)(?: (\S+))?$/;
// What a turn that is no event is called in the table.
const CALLED = { deadline: "deadline", cancel: "cancel", retry: "RetrySaga" };
// What the timeline calls the same.
const FACTS = { DeadlinePassed: "deadline", Retried: "RetrySaga" };

export function drawSaga(container, { saga, table, entries, spans }) {
  if (!table) return fill(container, h("p", { class: "quiet" }, "Asking the order service…"));
  const rows = table.transitions;
  const taken = turnsOf(spans, rows) ?? walked(entries, rows);
  const steps = [...new Set([...rows.map(({ step }) => step ?? ""), ...rows.map(({ next }) => next)])];
  const ends = new Set(steps.filter((step) => rows.every((row) => row.step !== step || row.next === step) && step));
  const open = steps.filter((step) => !ends.has(step));
  return fill(container,
    saga && now(saga, ends.has(saga.step)),
    h("div", { class: "steps" }, [...open, ...ends].map((step) => card(step, rows, taken, saga, ends.has(step)))));
}

function now({ step, attempt, deadline, parkTime, stepTime }, hasEnded) {
  const parts = [`since ${clock(stepTime)}`];
  if (attempt > 1) parts.push(`its command given out ${attempt} times`);
  if (deadline && !hasEnded) parts.push(`until ${clock(deadline)} at the longest`);
  if (parkTime) parts.push(`parked for an operator at ${clock(parkTime)}`);
  return h("p", {}, hasEnded ? "It ended " : "It is ", h("b", {}, step), `, ${parts.join(", ")}. Numbers are the turns that this order took.`);
}

function card(step, rows, taken, saga, isEnd) {
  const isNow = Boolean(step) && saga?.step === step;
  const own = rows.filter((row) => (row.step ?? "") === step);
  const word = isEnd ? "● ended here" : "● now";
  return h("section", { class: "step", "aria-current": isNow ? "step" : null, dataset: { step: step || "begins", end: String(isEnd) } },
    h("h3", {}, h("span", {}, step || "It begins"), isNow && h("b", {}, word)),
    own.length === 0 && h("p", { class: "quiet" }, "Nothing more is heard."),
    own.length > 0 && h("table", {},
      h("caption", { class: "sr-only" }, step ? `What is heard at ${step}` : "How a saga begins"),
      h("thead", { class: "sr-only" }, h("tr", {}, ["Turn", "Hears", "Then"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, own.map((row) => transition(row, taken.get(row) ?? [])))));
}

function transition({ on, next, step, command, compensates, parks }, turns) {
  const took = turns.length > 0;
  const then = parks ? "is parked" : next === step ? "stays" : ["→ ", breakable(next)];
  const sends = command && h("span", {}, compensates ? "↶ " : "sends ", breakable(command), compensates && h("span", { class: "sr-only" }, ", a compensation"));
  return h("tr", { class: took ? "took" : null, dataset: { on, next, took: String(took) } },
    h("td", { class: "turns" }, took && [h("span", { class: "sr-only" }, "Taken as turn "), h("b", {}, turns.join(", "))]),
    h("td", {}, breakable(on)),
    h("td", { class: compensates ? "undo" : null }, h("span", {}, then), sends));
}

// By the trace: each turn of the saga is a span. Null as long as it has none.
function turnsOf(spans, rows) {
  const turns = spans.filter(({ name, attributes }) => TURN.test(name) && attributes["shop.saga.step_before"]);
  if (!turns.length) return null;
  const taken = new Map();
  const begins = rows.find(({ step }) => !step);
  if (begins) taken.set(begins, [1]);
  turns.forEach(({ name, attributes }, index) => {
    const [, kind, event] = TURN.exec(name);
    const facts = [attributes["shop.saga.facts"] ?? []].flat();
    const parked = facts.some((fact) => fact.startsWith("Parked"));
    const on = event ?? (kind === "deadline" && parked ? "last deadline" : CALLED[kind]);
    const row = rows.find((each) =>
      each.on === on && each.step === attributes["shop.saga.step_before"] && each.next === attributes["shop.saga.step"]);
    if (row) taken.set(row, [...(taken.get(row) ?? []), index + 2]);
  });
  return taken;
}

// By the timeline: from the row that begins on.
function walked(entries, rows) {
  const taken = new Map();
  let step = "";
  let turn = 0;
  entries.forEach(({ event, status, detail }, index) => {
    const name = short(event);
    const isParked = short(entries[index + 1]?.event ?? "") === "Parked";
    let on = FACTS[name] ?? name;
    if (name === "DeadlinePassed" && isParked) on = "last deadline";
    // A cancel has no entry of its own while the order is pending.
    if (name === "TurnedBack" && detail === "CANCELLED_BY_CUSTOMER") on = "cancel";
    const found = rows.filter((row) => (row.step ?? "") === step && row.on === on);
    const row = found.find(({ next }) => next === status) ?? found[0];
    if (!row) return;
    turn += 1;
    taken.set(row, [...(taken.get(row) ?? []), turn]);
    step = row.next;
  });
  return taken;
}
