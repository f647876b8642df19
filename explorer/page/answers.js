// The six questions that somebody has about an order, answered from its trace, its timeline and its saga.

import { fill, h } from "./dom.js";
import { clock, duration, plural, short } from "./format.js";

// `[{id, question, lines}]`; a line is `{text, span?, alarm?}`: the span shows it. `selected` is the span that is open, if one is;
// `order` is null of a trace alone.
export function answers(seen) {
  return [
    { id: "existed", question: "When did the order exist?", lines: existed(seen) },
    { id: "waiting", question: "What is it waiting for?", lines: awaited(seen) },
    { id: "undone", question: "Who undid what, and why?", lines: undone(seen) },
    { id: "twice", question: "Was a message handled twice?", lines: handledTwice(seen) },
    { id: "lay", question: "How long did it lie in the outbox, in Kafka?", lines: lay(seen) },
    { id: "line", question: "Which line did this?", lines: lineOf(seen) },
  ];
}

// `open(span)` is called when a line is pressed that a span shows.
export function drawAnswers(container, list, { open }) {
  fill(container, h("dl", { class: "answers" }, list.map(({ id, question, lines }) =>
    h("div", { id: `answer-${id}`, class: "answer-box" }, h("dt", {}, question), lines.map((line, index) => said(line, `${id}/${index}`, open))))));
}

function said({ text, span, alarm }, key, open) {
  return h("dd", { class: alarm ? "alarm" : "" }, text, span
    ? [" ", h("button", { class: "shows", type: "button", dataset: { key }, onclick: () => open(span) }, "show", h("span", { class: "sr-only" }, ` ${span.name}`))]
    : null);
}

// From the commit on: the span of PlaceOrder ends with it.
function existed({ order, spans }) {
  const created = spans.find((span) => span.operation === "create" && span.event === "OrderPlaced");
  const place = created && spans.find((span) => span.id === created.parentId && span.kind === "SERVER");
  if (!place && !order) return [{ text: "No order was placed in this trace." }];
  if (!place) return [{ text: `Since about ${clock(order.createTime)}, by the order's own row; the span of its commit is not here.` }];
  const root = spans.find((span) => span.traceId === place.traceId && !span.parentId);
  const after = root ? `, ${duration(place.end - root.start)} after the ${root.name} came in` : "";
  return [{ text: `From ${clock(place.end)} on: then ${short(place.name)} had committed${after}. Before that there was no order.`, span: place }];
}

function awaited({ order, saga, table, payment, reservation, entries, spans }) {
  const lines = [];
  if (saga?.parkTime) lines.push({ text: `For an operator: the saga is parked at ${saga.step} since ${clock(saga.parkTime)}. ./shop sagas retry ${order.orderId}`, alarm: true });
  if (order?.status === "PENDING" && saga) lines.push({ text: stepText(saga, table) });
  if (["CANCELLED", "REJECTED"].includes(order?.status)) {
    const owed = (what, state) => lines.push({ text: `For ${what}: ${state}, to be given back.` });
    if (["CHARGED", "CHARGING"].includes(payment?.state)) owed("the money", payment.state);
    if (["HELD", "SHIPPED"].includes(reservation?.state)) owed("the goods", reservation.state);
  }
  if (order?.status === "CONFIRMED" && reservation?.state === "HELD") lines.push({ text: "For inventory to ship the goods, which are HELD: it has not handled OrderConfirmed yet." });
  for (const span of unsent(spans))
    lines.push({ text: `${span.event} waits in the outbox of ${span.service} since ${clock(span.start)}; no span says that it was sent.`, span });
  if (lines.length) return lines;
  if (!order) return [{ text: "For nothing that a trace says." }];
  const entry = entries.find(({ status }) => status === order.status);
  return [{ text: `For nothing: it is ${order.status} since ${clock(entry?.time ?? order.updateTime)}.` }];
}

function stepText(saga, table) {
  const rows = (table?.transitions ?? []).filter(({ step }) => step === saga.step);
  const events = [...new Set(rows.map(({ on }) => on).filter((on) => /^[A-Z]/.test(on) && !/^(Command|Retry)/.test(on)))];
  const until = saga.deadline ? `, until ${clock(saga.deadline)}` : "";
  const attempt = saga.attempt > 1 ? `, attempt ${saga.attempt}` : "";
  return `For ${events.length ? events.join(" or ") : "its next event"}: the saga is at ${saga.step}${attempt}${until}.`;
}

function unsent(spans) {
  const sent = new Set(spans.filter((span) => span.operation === "send" && span.error === null).map(({ message }) => message));
  return spans.filter((span) => span.kind === "PRODUCER" && !sent.has(span.message));
}

// By the saga, with commands; and by who undoes by itself what it hears was cancelled.
function undone({ order, spans }) {
  const below = childrenOf(spans);
  const reason = spans.map((span) => span.attributes["shop.saga.reason"]).find(Boolean) ?? order?.reason;
  const because = reason ? `, because ${reason}` : "";
  const lines = [...bySaga(spans, below, because), ...byThemselves(spans, below, because)];
  return lines.length ? lines : [{ text: `Nobody undid anything${order?.status === "REJECTED" ? `: nothing had been done when it was rejected${because}` : ""}.` }];
}

function bySaga(spans, below, because) {
  const steps = new Map();
  for (const span of spans)
    if (span.attributes["shop.saga.direction"] === "compensate") {
      const method = short(String(span.attributes["rpc.method"] ?? span.name));
      steps.set(method, [...(steps.get(method) ?? []), span]);
    }
  return [...steps].map(([method, tries]) => {
    const last = tries.findLast((span) => span.error === null) ?? tries.at(-1);
    const failed = tries.filter((span) => span.error !== null).length;
    const server = below(last).find((span) => span.kind === "SERVER");
    const event = (server && promisedBelow(server, below)[0]) ?? turnAfter(last, spans);
    const result = event ? `, which said ${event}` : last.error === null ? "; its event has not come" : `; so far it fails (${last.error})`;
    const whom = server?.service ?? "nobody yet";
    const before = failed ? `; ${plural(failed, "try", "tries")} failed before` : "";
    return { text: `The saga (${last.service}) asked ${whom} for ${method}${result}${because}${before}.`, span: last, alarm: last.error !== null };
  });
}

function byThemselves(spans, below, because) {
  const sagas = new Set(spans.filter((span) => "shop.saga.step_before" in span.attributes).map((span) => span.service));
  return spans.filter((span) => span.kind === "CONSUMER" && !sagas.has(span.service)).flatMap((heard) => {
    const events = promisedBelow(heard, below);
    return events.length ? [{ text: `${heard.service} gave back by itself when it heard ${heard.event}, and said ${events.join(", ")}${because}.`, span: heard }] : [];
  });
}

// A group may get a message any number of times, and must apply it once.
function handledTwice({ spans }) {
  const deliveries = new Map();
  for (const span of spans)
    if (span.operation === "process") {
      const key = `${span.message} ${span.group}`;
      deliveries.set(key, [...(deliveries.get(key) ?? []), span]);
    }
  const all = [...deliveries.values()];
  const lines = all.filter((each) => each.length > 1 || each.some(isDuplicate)).map((each) => {
    const applied = each.filter((span) => !isDuplicate(span)).length;
    const [first] = each;
    const came = `${first.event} came to ${first.group} ${each.length === 1 ? "once in this trace" : `${each.length} times`}`;
    return applied > 1
      ? { text: `Yes: ${came}, and was applied ${applied} times.`, span: each.at(-1), alarm: true }
      : { text: `No: ${came}; the inbox knew it, and it was applied ${applied === 1 ? "once" : "before"}.`, span: each.find(isDuplicate) };
  });
  if (lines.length) return lines;
  return [{ text: all.length ? `No: ${plural(all.length, "delivery", "deliveries")}, each applied once.` : "No message of it has been handled yet." }];
}

function isDuplicate(span) {
  return span.attributes["shop.inbox.outcome"] === "duplicate";
}

function lay({ spans, settings }) {
  const messages = new Map();
  for (const span of spans) {
    if (!span.message) continue;
    const message = messages.get(span.message) ?? { created: null, outbox: null, heard: [] };
    messages.set(span.message, message);
    if (span.kind === "PRODUCER") message.created = span;
    else if (span.operation === "send") message.outbox = span;
    else if (span.kind === "CONSUMER" && !isDuplicate(span)) message.heard.push(span);
  }
  return [...messages.values()].map((message) => ({ text: layText(message, settings), span: message.heard[0] ?? message.outbox ?? message.created }));
}

function layText({ created, outbox, heard }, settings) {
  const span = created ?? outbox ?? heard[0];
  const inOutbox = outbox ? `${duration(outboxMs(created, outbox, heard[0]))} in the outbox of ${outbox.service}` : "not sent yet, by its trace";
  const onKafka = heard.map((each) => `${duration(Number(each.attributes["shop.kafka.age_ms"]))} on Kafka until ${each.group}`);
  const nobody = settings.heardBy[span.type]?.length === 0 ? ["nobody has to hear it"] : outbox ? ["not heard yet"] : [];
  return `${span.event}: ${[inOutbox, ...(onKafka.length ? onKafka : nobody)].join(", ")}.`;
}

// Until Kafka had the copy that was heard. An event whose acknowledgement is lost is sent again, and heard by its first copy.
function outboxMs(created, outbox, heard) {
  const offset = "messaging.kafka.offset";
  if (!created || !heard || heard.attributes[offset] === outbox.attributes[offset]) return Number(outbox.attributes["shop.outbox.age_ms"]);
  return heard.start - Number(heard.attributes["shop.kafka.age_ms"]) - created.start;
}

// Of the open span; else of the saga's latest turn; else of the latest work.
function lineOf({ spans, selected }) {
  const span = selected ?? spans.findLast((each) => "shop.saga.step_before" in each.attributes) ?? spans.findLast(({ kind }) => !/CLIENT|PRODUCER/.test(kind));
  const path = span?.attributes["code.file.path"];
  if (!path) return [{ text: span ? `${span.name} (${span.service}) does not say.` : "The trace has not come yet." }];
  const has = span.attributes;
  return [{ text: `${path}:${has["code.line.number"]}, ${short(String(has["code.function.name"]))}: ${span.name} (${span.service}).`, span }];
}

function childrenOf(spans) {
  const children = new Map();
  for (const span of spans) children.set(span.parentId, [...(children.get(span.parentId) ?? []), span]);
  return (span) => children.get(span.id) ?? [];
}

// The event at which the saga went on; a worker may tell it far from the command.
function turnAfter({ start }, spans) {
  const turn = spans.find((span) => span.start > start && span.attributes["shop.saga.step_before"] !== span.attributes["shop.saga.step"] && / heard /.test(span.name));
  return turn?.name.slice(turn.name.lastIndexOf(" ") + 1);
}

// What a service promised to tell while it worked on this span.
function promisedBelow(span, below) {
  const found = [];
  const seen = new Set();
  for (const open = [span]; open.length;) {
    const each = open.shift();
    if (seen.has(each)) continue;
    seen.add(each);
    if (each.kind === "PRODUCER" && each.service === span.service) found.push(each.event);
    open.push(...below(each));
  }
  return found;
}
