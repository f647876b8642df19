// Says in a sentence how much of an order's trace is there. Each cause of a missing trace has its own.

import { duration, short } from "./format.js";

// Spans are on their way for so long, after what they tell of.
const ARRIVING_MS = 10_000;

// `{name, sentence, isWhole}`. `problem` is the reason why the store gave no trace, or empty; `now` is milliseconds since the epoch.
export function traceState({ order, entries, spans, problem = "", settings, now }) {
  if (!spans.length) return absent(order, problem, settings, now);
  const missing = missingOf(entries, spans, settings);
  if (problem === "TRACE_STORE_AWAY") return state("away", "The trace store does not answer: this is what it told before. Looking again.");
  if (!missing.length)
    return order.status === "PENDING"
      ? state("growing", "All that happened so far is here; the order is still on its way.")
      : state("whole", "The trace is complete: every event of the timeline was written, sent, and handled by each group that hears it.", true);
  if (settings.traces.async === "link" && missing.every(({ what }) => what.startsWith("handled")))
    return state("linked", "Complete as far as this trace goes: messages are handled in traces of their own (TRACE_ASYNC=link), which link to it.", true);
  const first = missing[0];
  const rest = missing.length > 1 ? `, and ${missing.length - 1} more` : "";
  const lacks = `${first.event ? `${short(first.event)} is not yet ${first.what}` : first.what}${rest}`;
  const quiet = now - Date.parse(entries.at(-1)?.time ?? order.createTime);
  return quiet < ARRIVING_MS
    ? state("arriving", `Still arriving: ${lacks}.`)
    : state("partial", `Incomplete: ${lacks}. For ${duration(quiet)} nothing has come; it may be waiting, or lost on its way to the store.`);
}

function absent(order, problem, { traces }, now) {
  const age = now - Date.parse(order.createTime);
  if (problem === "TRACE_NOT_SAMPLED")
    return state("not-sampled", `This order is not traced: ${percent(traces.sampleRatio)} of all orders are (TRACE_SAMPLE_RATIO). What the timeline says is all there is.`, true);
  if (problem === "TRACES_NOT_EXPORTED") return state("off", "Traces are switched off: spans are not exported (OTEL_SDK_DISABLED, or no OTEL_EXPORTER_OTLP_ENDPOINT).", true);
  if (problem === "TRACE_STORE_AWAY") return state("away", "The trace store does not answer. The order goes on without it; looking again.");
  if (problem === "TRACE_TOO_LARGE") return state("too-large", "The trace is too large to be shown here; the trace store's own page has it.", true);
  const isTail = traces.store === "tail-sampling";
  if (isTail && age < traces.decisionSeconds * 1000 + ARRIVING_MS)
    return state("undecided", `Waiting for the tail sampler: it judges a trace ${traces.decisionSeconds} s after its first span, which is in about ${Math.max(1, Math.ceil(traces.decisionSeconds - age / 1000))} s.`);
  if (isTail) return state("not-kept", "The tail sampler did not keep this trace (it keeps what failed, was undone or slow, and one in ten of the rest), or the store has forgotten it since.", true);
  if (age < ARRIVING_MS) return state("none-yet", "The trace has not come yet: spans arrive up to two seconds after what they tell of.");
  return state("forgotten", "The trace is not in the store any more: it keeps the newest, and is empty after a restart.", true);
}

// What the timeline promises and the trace does not tell: `{event, what}`, in the timeline's order.
function missingOf(entries, spans, { heardBy }) {
  const known = new Set(spans.map((span) => `${span.traceId}/${span.id}`));
  const created = new Map();
  const sent = new Set();
  const handled = new Set();
  for (const { operation, type, message, group, error } of spans) {
    if (operation === "create") created.set(type, [...(created.get(type) ?? []), message]);
    if (operation === "send" && error === null) sent.add(message);
    if (operation === "process") handled.add(`${message} ${group}`);
  }
  const missing = [];
  for (const { event, spanId } of entries) {
    if (!(event in heardBy)) {
      if (spanId && !spans.some((span) => span.id === spanId)) missing.push({ event, what: "told" });
      continue;
    }
    const messages = created.get(event) ?? [];
    if (!messages.length) missing.push({ event, what: "written" });
    else if (!messages.some((message) => sent.has(message))) missing.push({ event, what: "sent" });
    else
      for (const group of heardBy[event])
        if (!messages.some((message) => handled.has(`${message} ${group}`))) missing.push({ event, what: `handled by ${group}` });
  }
  const orphans = spans.filter((span) => span.parentId && !known.has(`${span.traceId}/${span.parentId}`));
  if (orphans.length) missing.push({ event: "", what: `the parent of ${orphans[0].name} has not come` });
  return missing;
}

function state(name, sentence, isWhole = false) {
  return { name, sentence, isWhole };
}

function percent(ratio) {
  return `${+(ratio * 100).toPrecision(3)} %`;
}
