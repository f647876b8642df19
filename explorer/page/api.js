// Asks the gateway: reads that leave no trace, requests that do, and an order's timeline while it grows.

import { pause } from "./live.js";

// An answer that takes longer counts as none.
const ANSWER_MS_MAX = 10_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 3000;
// Of an order that can change no more.
const FINAL = ["REJECTED", "CANCELLED"];

// An answer that is none: `status` as HTTP has it, or 0 when nothing answered; `reason` is the API's word for it.
export class Problem extends Error {
  constructor({ status = 0, title = "", detail = "", reason = "" }) {
    super(detail || title || `The answer was ${status}.`);
    Object.assign(this, { status, title, detail, reason });
  }

  get isAbsent() {
    return this.status === 404;
  }

  get isAway() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

// JSON. Raises Problem.
export async function read(path, signal) {
  return (await asked(path, {}, signal)).json();
}

// Raises Problem.
export async function text(path, signal) {
  return (await asked(path, {}, signal)).text();
}

// POSTs JSON and gives the JSON that comes back. Raises Problem.
export async function send(path, body, headers = {}, signal = undefined) {
  const request = { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
  return (await asked(path, request, signal)).json();
}

async function asked(path, request, signal) {
  const bound = AbortSignal.timeout(ANSWER_MS_MAX);
  return fetched(path, { ...request, signal: signal ? AbortSignal.any([signal, bound]) : bound }, signal);
}

async function fetched(path, request, signal) {
  let answer;
  try {
    answer = await fetch(path, { ...request, headers: { "shop-absent": "204", ...request.headers } });
  } catch (error) {
    signal?.throwIfAborted();
    throw new Problem({ title: "No answer", detail: `${path} does not answer.`, reason: error.name });
  }
  const reason = answer.headers.get("shop-absent");
  if (reason) throw absent(answer, reason);
  if (!answer.ok) throw await problem(answer);
  return answer;
}

// What is expected to be missing comes as 204: a browser calls every 404 an error on its console.
function absent({ headers }, reason) {
  const status = Number(headers.get("shop-absent-status") ?? 404);
  return new Problem({ status, reason, detail: decodeURIComponent(headers.get("shop-absent-detail") ?? "") });
}

async function problem(answer) {
  const isJson = answer.headers.get("content-type")?.includes("json");
  return new Problem({ title: answer.statusText, ...(isJson ? await answer.json() : {}), status: answer.status });
}

// Gives each entry behind a position to `onEntry`, whatever breaks the stream, until the order can change no more. Tells
// `onState` "open" and "away". Raises Problem if there is no such order.
export async function watch(orderId, after, onEntry, onState, signal) {
  let position = after;
  let isFinal = false;
  let wait = RETRY_MS_MIN;
  const heard = (entry) => {
    [position, isFinal, wait] = [Number(entry.position), FINAL.includes(entry.status), RETRY_MS_MIN];
    onEntry(entry);
  };
  for (;;) {
    try {
      if (await streamed(orderId, position, heard, onState, signal)) isFinal = true;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Problem && !error.isAway) throw error;
      onState("away");
    }
    if (isFinal) return;
    await pause(wait, signal);
    wait = Math.min(wait * 1.5, RETRY_MS_MAX);
  }
}

// Until the stream ends; whether it said that nothing more can come.
async function streamed(orderId, position, heard, onState, signal) {
  // Lines of JSON, and not an EventSource: that hides the status, and connects again to what has ended.
  const request = { headers: { accept: "application/x-ndjson" }, signal };
  const answer = await fetched(`/explorer/v1/orders/${orderId}:watch?after_position=${position}`, request, signal);
  if (answer.status === 204) return true;
  onState("open");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const message = JSON.parse(line);
      // The gateway says why it ends before the order does, such as that it is being restarted.
      if (message.error) throw new Problem(message.error);
      heard(message);
    }
  }
}
