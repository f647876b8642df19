// Reads the trace store's answer into spans, oldest first. Times are milliseconds since the epoch.

import { short } from "./format.js";

const KINDS = { 1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER" };
const ERROR = 2;

// Of one or several answers: `{id, traceId, parentId, name, service, instance, kind, start, end, error, attributes, links, events}`.
// `error` is null unless the span failed. Of a span about a message: `operation` (create, send, process), `message` (its id),
// `type` and `event` (the event's full name and its short one), `group`; else these are empty.
export function readSpans(...answers) {
  const found = new Map();
  for (const answer of answers)
    for (const { resource, scopeSpans = [] } of answer.result?.resourceSpans ?? []) {
      const of = attributes(resource);
      for (const { spans = [] } of scopeSpans)
        for (const span of spans) found.set(`${span.traceId}/${span.spanId}`, read(span, of));
    }
  return [...found.values()].sort((one, other) => one.start - other.start || other.end - one.end);
}

function read(span, resource) {
  const own = attributes(span);
  const name = span.name ?? "";
  const type = String(own["shop.event.type"] ?? "");
  return {
    id: span.spanId,
    traceId: span.traceId,
    parentId: span.parentSpanId ?? "",
    name,
    operation: own["messaging.operation.type"] ?? "",
    message: own["messaging.message.id"] ?? "",
    group: own["messaging.consumer.group.name"] ?? "",
    type,
    event: short(type) || name.slice(name.lastIndexOf(" ") + 1),
    service: resource["service.name"] ?? "?",
    instance: resource["service.instance.id"] ?? "",
    kind: KINDS[span.kind] ?? "UNSPECIFIED",
    start: milliseconds(span.startTimeUnixNano),
    end: milliseconds(span.endTimeUnixNano),
    error: span.status?.code === ERROR ? span.status.message || own["error.type"] || "failed" : null,
    attributes: own,
    links: (span.links ?? []).map((link) => ({ traceId: link.traceId, spanId: link.spanId, attributes: attributes(link) })),
    events: (span.events ?? []).map((event) => ({
      name: event.name ?? "", at: milliseconds(event.timeUnixNano), attributes: attributes(event),
    })),
  };
}

// Nanoseconds since the epoch have more digits than a number holds.
function milliseconds(nanoseconds) {
  return Number(BigInt(nanoseconds ?? 0) / 1000n) / 1000;
}

function attributes(holder) {
  return Object.fromEntries((holder?.attributes ?? []).map(({ key, value }) => [key, plain(value)]));
}

function plain(value) {
  if (value?.arrayValue) return (value.arrayValue.values ?? []).map(plain);
  if (value?.kvlistValue) return attributes({ attributes: value.kvlistValue.values });
  if (value?.intValue !== undefined) return Number(value.intValue);
  return Object.values(value ?? {})[0] ?? "";
}
