// What the gateway says of this installation: the trace store, its page, and who hears what.

import { read } from "./api.js";
import { h } from "./dom.js";

let known = null;

// Raises Problem; the next call then asks again.
export async function settings(signal) {
  known ??= await read("/explorer/settings", signal);
  return known;
}

// The address of the trace store's page, and its name. The embedded system's answers as Jaeger does, and has its own page.
export function tracesHome({ traces }) {
  return [new URL("/", traces.page).href, traces.store === "embedded" ? "Trace store" : "Jaeger"];
}

// A link to the page of a trace, with one span marked.
export function traceLink(known, traceId, spanId = "") {
  const isEmbedded = known.traces.store === "embedded";
  const mark = spanId && (isEmbedded ? `#${spanId}` : `?uiFind=${spanId}`);
  const href = known.traces.page.replace("{trace_id}", traceId) + mark;
  return h("a", { href, target: "_blank", rel: "noopener" }, `Open in ${isEmbedded ? "the trace store" : "Jaeger"}`);
}
