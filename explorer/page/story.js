// What a sequence diagram tells, from spans, and from timeline entries whose spans have not come: rows in time, lanes by first
// appearance, waits between rows. An arrow needs both of its ends; no service and no step is known by name here.

import { duration, short } from "./format.js";

export const CLIENT = "client";
const BROKERS = { kafka: "Kafka" };
// Longer than this without anything is said as a row of its own.
const PAUSE_MS = 1000;
const STEP = "shop.saga.step";

// `{lanes, rows, waits}`. A row: `{kind, at, ends, span, lane, from, to, label, remarks, text, undoes, failed, links}`; `text` says it in words.
// A wait: `{place, lane, from, to, ms, label}`, `from` and `to` being rows' indexes.
export function tell(spans, entries = []) {
  const trace = indexed(spans);
  const rows = spans.flatMap((span) => told(span, trace));
  rows.push(...entries.filter((entry) => !trace.byId.has(entry.spanId)).map(promised));
  rows.sort((one, other) => one.at - other.at || one.order - other.order);
  const waits = waitsBetween(rows, trace);
  return withPauses({ lanes: lanesOf(rows), rows, waits, begin: rows.length ? rows[0].at : 0 });
}

function indexed(spans) {
  const byId = new Map(spans.map((span) => [span.id, span]));
  const children = new Map();
  for (const span of spans) {
    if (!children.has(span.parentId)) children.set(span.parentId, []);
    children.get(span.parentId).push(span);
  }
  return { byId, below: ({ id }) => children.get(id) ?? [], of: (id) => byId.get(id) };
}

// The rows of one span; none for what stands inside another's work, such as a statement.
function told(span, trace) {
  const has = span.attributes;
  if (has["db.system.name"]) return [];
  switch (span.operation) {
    case "create": return [promise(span)];
    case "send": return [sent(span)];
    case "process": return [heard(span)];
  }
  if (span.kind === "CLIENT") return called(span, trace);
  if (span.kind === "SERVER") return arrived(span, trace);
  return [noted(span)];
}

function called(span, trace) {
  const servers = trace.below(span).filter((child) => child.kind === "SERVER" && child.service !== span.service);
  if (!servers.length) return [unanswered(span)];
  const [server] = servers;
  return [call(span, server, span.service), answer(span, server, span.service)];
}

function arrived(span, trace) {
  if (!span.parentId) return [call(span, span, CLIENT), answer(span, span, CLIENT)];
  const parent = trace.of(span.parentId);
  if (parent?.kind === "CLIENT" && parent.service !== span.service) return [];
  return [row(span, "note", { lane: span.service, label: short(span.name), remarks: ["its caller's span is not here"] })];
}

function call(span, server, from) {
  const label = asked(span);
  const remarks = tries(span);
  const age = span.attributes["shop.command.age_ms"];
  if (Number(age) >= 1) remarks.push(`${duration(Number(age))} in the command outbox`);
  const verb = undoes(span) ? "asks, to undo," : "asks";
  return row(span, "call", { from, to: server.service, label, remarks, text: `${from} ${verb} ${server.service}: ${label}` });
}

function answer(span, server, from) {
  const label = outcome(span);
  const text = `${server.service} answers ${from}: ${label}, after ${duration(span.end - span.start)}`;
  return row(span, "answer", { at: span.end, order: 2, from: server.service, to: from, label, text });
}

// Nobody's span says that the call arrived.
function unanswered(span) {
  const label = asked(span);
  const reason = span.error === null ? "the other side's span is not here" : `${outcome(span)} after ${duration(span.end - span.start)}`;
  return row(span, "unanswered", {
    lane: span.service, label, remarks: [...tries(span), reason], text: `${span.service} asks in vain: ${label}`,
  });
}

function promise(span) {
  const label = span.event;
  return row(span, "promise", { lane: span.service, label, remarks: ["into the outbox"], text: `${span.service} writes ${label} into its outbox` });
}

function sent(span) {
  const label = span.event;
  const broker = brokerOf(span);
  if (span.error !== null)
    return row(span, "unanswered", { lane: span.service, label: `send ${label}`, remarks: [span.error], text: `${span.service} does not reach ${broker}: ${label}` });
  const age = span.attributes["shop.outbox.age_ms"];
  const remarks = age === undefined ? [] : [`${duration(Number(age))} in the outbox`];
  return row(span, "sent", { from: span.service, to: broker, label, remarks, text: `${span.service} sends ${label} to ${broker}` });
}

function heard(span) {
  const has = span.attributes;
  const label = span.event;
  const broker = brokerOf(span);
  const age = has["shop.kafka.age_ms"];
  const remarks = [];
  if (age !== undefined) remarks.push(`${duration(Number(age))} on ${broker}`);
  if (has["shop.inbox.outcome"] === "duplicate") remarks.push("a duplicate: nothing is done");
  if (Number(has["shop.batch.messages"] ?? 1) > 1) remarks.push(`with ${has["shop.batch.messages"] - 1} more in one transaction`);
  return row(span, "heard", { from: broker, to: span.service, label, remarks, text: `${span.service} hears ${label} from ${broker}${span.group ? ` as ${span.group}` : ""}` });
}

function noted(span) {
  const has = span.attributes;
  const remarks = [...tries(span)];
  const before = has["shop.saga.step_before"];
  // The reason first: where there is little room the end is cut. A fact names its step, which is said anyway.
  remarks.push(...facts(span).map((fact) => fact.replace(/^TurnedBack: /, "turns back: ").replace(`: ${before}`, "")));
  if (before && before !== has[STEP]) remarks.push(`${before} → ${has[STEP]}`);
  else if (before) remarks.push(`stays at ${before}`);
  const result = Object.entries(has).find(([name]) => name.endsWith(".outcome"));
  if (result) remarks.push(String(result[1]));
  if (span.end - span.start >= PAUSE_MS) remarks.push(`took ${duration(span.end - span.start)}`);
  return row(span, "note", { lane: span.service, label: span.name, remarks });
}

// A timeline entry whose span has not come: the trace will say it better.
function promised(entry) {
  const label = short(entry.event);
  const remarks = [...(entry.detail ? [entry.detail] : []), "from the timeline"];
  return { kind: "entry", at: Date.parse(entry.time), order: 1, span: null, lane: entry.service, label, remarks, text: `${entry.service}: ${label}`, links: [] };
}

function row(span, kind, more) {
  return {
    kind, at: span.start, order: 1, span, remarks: [], undoes: undoes(span), failed: span.error !== null,
    text: `${span.service}: ${more.label}`, ...more,
    links: kind === "answer" ? [] : span.links.filter((link) => link.spanId !== span.parentId),
  };
}

function undoes(span) {
  const has = span.attributes;
  return has["shop.saga.direction"] === "compensate" || facts(span).some((fact) => fact.startsWith("TurnedBack"));
}

// What the saga did that no event says.
function facts(span) {
  return [span.attributes["shop.saga.facts"] ?? []].flat();
}

function tries(span) {
  const has = span.attributes;
  const tried = Number(has["shop.command.try"] ?? has["shop.payment.attempt"] ?? 1);
  const attempt = Number(has["shop.saga.attempt"] ?? 1);
  return [...(attempt > 1 ? [`attempt ${attempt}`] : []), ...(tried > 1 || span.error !== null && has["shop.command.try"] ? [`try ${tried}`] : [])];
}

function asked(span) {
  return span.attributes["rpc.method"] ? short(String(span.attributes["rpc.method"])) : span.name;
}

function outcome(span) {
  const has = span.attributes;
  if (span.error !== null) return has["rpc.status_code"] ?? has["http.response.status_code"] ?? span.error;
  return String(has["rpc.status_code"] ?? has["http.response.status_code"] ?? "done");
}

function brokerOf(span) {
  const system = String(span.attributes["messaging.system"] ?? "broker");
  return BROKERS[system] ?? system;
}

// The client first, then as they appear, the broker last: everybody talks to it.
function lanesOf(rows) {
  const names = new Set();
  const brokers = new Set();
  for (const { kind, lane, from, to } of rows) {
    if (kind === "sent") brokers.add(to);
    if (kind === "heard") brokers.add(from);
    for (const name of [from, lane, to]) if (name) names.add(name);
  }
  const services = [...names].filter((name) => name !== CLIENT && !brokers.has(name));
  return [...(names.has(CLIENT) ? [CLIENT] : []), ...services, ...brokers];
}

// In the outbox: from the promise until the broker had it. On the broker: from then until a consumer began.
function waitsBetween(rows, trace) {
  const at = new Map();
  rows.forEach(({ kind, span }, index) => span && kind !== "answer" && at.set(span.id, index));
  const waits = [];
  rows.forEach(({ kind, span, from }, index) => {
    const parent = span && trace.of(span.parentId);
    if (!parent) return;
    if (kind === "sent" && at.has(parent.id)) {
      const ms = Number(span.attributes["shop.outbox.age_ms"]);
      waits.push({ place: "outbox", lane: from, from: at.get(parent.id), to: index, ms, span, label: `${span.event}: ${duration(ms)} in the outbox` });
    }
    if (kind === "heard") {
      const send = trace.below(parent).find((each) => at.has(each.id) && rows[at.get(each.id)].kind === "sent");
      const ms = Number(span.attributes["shop.kafka.age_ms"]);
      const begin = send && at.get(send.id);
      if (begin < index) waits.push({ place: "broker", lane: from, from: begin, to: index, ms, span, label: `${span.event}: ${duration(ms)} on ${from}` });
    }
  });
  return waits;
}

// Where nothing happened for long the diagram says so, for its rows are as high whatever lies between them.
function withPauses({ lanes, rows, waits, begin }) {
  const all = [];
  const moved = [];
  rows.forEach((each, index) => {
    const quiet = index ? each.at - rows[index - 1].at : 0;
    const label = `nothing for ${duration(quiet)}`;
    if (quiet > PAUSE_MS) all.push({ kind: "pause", at: rows[index - 1].at, label, remarks: [], text: label, links: [] });
    moved.push(all.length);
    all.push(each);
  });
  return { lanes, rows: all, begin, waits: waits.map((wait) => ({ ...wait, from: moved[wait.from], to: moved[wait.to] })) };
}
