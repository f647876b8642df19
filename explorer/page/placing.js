// Places orders: one button for each example that the API's own description has, and the same request once more.

import { read, send } from "./api.js";
import { fill, h } from "./dom.js";
import { pause } from "./live.js";
import { badge, words } from "./status.js";

const RETRY_MS = 2000;

export function showPlacing(container, signal) {
  const list = h("ul", { class: "kinds" });
  const said = h("p", { class: "said", role: "status" });
  fill(container,
    h("h2", { id: "placing-title" }, "Place an order"),
    h("p", { class: "quiet small" }, "One click orders it and shows what comes of it."),
    list, said);
  offer(list, said, signal);
}

async function offer(list, said, signal) {
  for (;;) {
    try {
      const examples = await examplesOf(signal);
      fill(said);
      fill(list, ...examples.map(([name, example]) => h("li", {}, kind(name, example, said))));
      return;
    } catch (error) {
      if (signal.aborted) return;
      fill(said, `The shop does not say what can be ordered (${error.message}). Trying again…`);
    }
    // Of a view that was left, the next look is the last.
    await pause(RETRY_MS, signal).catch(() => {});
  }
}

async function examplesOf(signal) {
  const { paths } = await read("/openapi.json", signal);
  return Object.entries(paths["/v1/orders"].post.requestBody.content["application/json"].examples);
}

function kind(name, { summary, value }, said) {
  const { label, does, ends, reason } = parts(name, summary);
  const button = h("button", { type: "button", class: "kind", onclick: () => place(button, value, said), dataset: { example: name } },
    h("span", { class: "kind-name" }, label),
    ends && [h("span", { class: "sr-only" }, ` Ends ${ends}. `), h("span", { "aria-hidden": "true" }, badge(ends))],
    h("span", { class: "small quiet kind-does" }, does, reason && `: ${words(reason)}`));
  return button;
}

// "tok_declined: the card network declines. Ends REJECTED, PAYMENT_DECLINED." in its parts; what is said otherwise stays whole.
function parts(name, summary) {
  const [, label = name.replaceAll("-", " "), rest] = /^(?:([\w-]+): )?(.*)$/.exec(summary);
  const [, does, ends, reason] = /^(.*)\. Ends ([A-Z]+)(?:, ([A-Z_]+))?\.$/.exec(rest) ?? [null, rest, null, null];
  return { label, does: does[0].toUpperCase() + does.slice(1), ends, reason };
}

async function place(button, body, said) {
  button.disabled = true;
  fill(said, "Ordering…");
  fill(said, await told("The order was not placed", async () => {
    const key = newKey();
    const { orderId } = await send("/v1/orders", body, { "idempotency-key": key });
    sessionStorage.setItem(`placed/${orderId}`, JSON.stringify({ key, body }));
    location.hash = `#/orders/${orderId}`;
    return "";
  }));
  button.disabled = false;
}

// Not crypto.randomUUID(), which a page has only over HTTPS or on this machine.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The request by which this page placed an order, or null.
export function placedBy(orderId) {
  return JSON.parse(sessionStorage.getItem(`placed/${orderId}`) ?? "null");
}

// Sends that request once more, as a client does that got no answer; gives a sentence on what came of it.
export function repeat(orderId) {
  const { key, body } = placedBy(orderId);
  return told("The repeated request was not answered", async () => {
    const again = await send("/v1/orders", body, { "idempotency-key": key });
    const came = again.orderId === orderId ? "this same order, and ordered nothing twice" : "another order";
    return `Sent again with the same Idempotency-Key: the shop answered with ${came}.`;
  });
}

// Cancels an order, as its customer; gives a sentence on what came of it.
export function cancel(orderId) {
  return told("The order was not cancelled", async () => {
    const { status } = await send(`/v1/orders/${orderId}:cancel`, {});
    return status === "CANCELLED"
      ? "Cancelled: the money and the goods go back now."
      : "Accepted: the order stays PENDING until all that it had begun is undone.";
  });
}

async function told(failed, act) {
  try {
    return await act();
  } catch (error) {
    return `${failed}: ${error.message} ${advice(error)}`;
  }
}

// What to do about an answer that is none.
function advice({ isAway, status }) {
  if (isAway) return "Try again in a moment; `./shop doctor` says what is wrong.";
  return status < 500 ? "Trying the same again will not help." : "That is a fault of the shop; the gateway's log says more.";
}
