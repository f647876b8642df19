// Everything about one order, as far as it is known, and kept true: its timeline by the stream, the rest read again at each
// entry, its traces asked for until they are whole. Then nothing is asked any more.

import { Problem, read, watch } from "./api.js";
import { short } from "./format.js";
import { coalesced, pause, whileVisible } from "./live.js";
import { settings } from "./settings.js";
import { traceState } from "./state.js";
import { readSpans } from "./trace.js";

const FAST_MS = 500;
const SLOW_MS = 2000;
// Since the order last changed.
const FAST_FOR_MS = 10_000;
// Since then, or since the reader came or asked.
const LOOK_FOR_MS = 180_000;
const TRACES_MAX = 20;
// A finished span may be held back for so long.
const LATE_MS = 1500;
// Of the trace store; asking again cannot change them.
const NEVER = ["TRACE_NOT_SAMPLED", "TRACES_NOT_EXPORTED"];

export class Feed {
  // Absent things are null, and undefined as long as nobody has answered.
  order = undefined;
  saga = undefined;
  table = undefined;
  payment = undefined;
  reservation = undefined;
  settings = undefined;
  entries = [];
  spans = [];
  // By their id: `{title, answer, problem}`.
  traces = new Map();
  // "opening", "open", "away" or "ended".
  connection = "opening";
  isLooking = true;
  state = null;
  // Why there is nothing to show, such as that no such order exists.
  problem = null;
  #signal;
  #changed;
  #changedAt = Date.now();
  #askedAt = Date.now();
  #wake = () => {};
  #readAt = 0;
  // For which state of the order further traces were searched for: none, "running" or "ended".
  #searched = "";
  #refresh = coalesced(() => this.#readAgain());

  constructor(orderId, changed, signal) {
    this.orderId = orderId;
    this.#changed = changed;
    this.#signal = signal;
  }

  // Until the view is left.
  async run() {
    try {
      await this.#begin();
      this.#changedAt = Date.parse(this.order.updateTime);
      await Promise.all([
        whileVisible(this.#signal, (seen) => this.#watch(seen)),
        whileVisible(this.#signal, (seen) => this.#look(seen)),
        this.#refresh(),
      ]);
    } catch (error) {
      if (this.#signal.aborted) return;
      this.problem = error;
      this.#changed();
      if (!(error instanceof Problem)) throw error;
    }
  }

  // After the reader has done something to the order, or asks for another look.
  lookAgain() {
    this.#askedAt = this.#changedAt = Date.now();
    this.#searched = "";
    this.isLooking = true;
    this.#wake();
    this.#refresh();
    this.#changed();
  }

  async #begin() {
    for (;;) {
      try {
        [this.order, this.settings] = await Promise.all([read(`/explorer/v1/orders/${this.orderId}`, this.#signal), settings(this.#signal)]);
        this.connection = "open";
        this.#know(this.order.traceId, "the order");
        return;
      } catch (error) {
        if (!error.isAway) throw error;
        this.connection = "away";
        this.#changed();
        await pause(SLOW_MS, this.#signal);
      }
    }
  }

  async #watch(signal) {
    if (this.connection === "ended") return;
    await watch(this.orderId, this.entries.length, (entry) => this.#heard(entry), (state) => this.#tell(state), signal);
    this.#tell("ended");
  }

  #tell(connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    this.#changed();
    this.#wake();
  }

  #heard(entry) {
    if (Number(entry.position) !== this.entries.length + 1) return;
    this.entries = [...this.entries, entry];
    this.#changedAt = Math.max(this.#changedAt, Date.parse(entry.time));
    this.isLooking = true;
    this.#changed();
    this.#wake();
    this.#refresh();
  }

  // What the API says of the order now; one part may be away, and holds up no other.
  async #readAgain() {
    this.#readAt = Date.now();
    const ask = async (part, path) => {
      try {
        this[part] = await read(`/explorer/v1/${path}`, this.#signal);
      } catch (error) {
        if (this.#signal.aborted) return;
        if (error.isAbsent) this[part] = null;
        else if (!error.isAway) throw error;
      }
      this.#changed();
    };
    const id = this.orderId;
    await Promise.all([
      ask("order", `orders/${id}`), ask("saga", `orders/${id}/saga`), ask("payment", `payments/${id}`),
      ask("reservation", `reservations/${id}`), this.table ?? ask("table", "saga"),
    ]);
  }

  async #look(signal) {
    // The stream gives what is there already at once; then it is known whether the order has ended.
    if (!this.entries.length) await this.#woken(pause(FAST_MS, signal));
    for (;;) {
      // While the gateway is away, the stream alone asks whether it is back.
      const isAway = this.connection === "away";
      if (this.isLooking && !isAway) await this.#lookOnce(signal);
      const quiet = Date.now() - this.#changedAt;
      const next = quiet < FAST_FOR_MS ? FAST_MS : SLOW_MS;
      await this.#woken(this.isLooking && !isAway ? pause(next, signal) : never(signal));
      if (this.#isOwing()) await this.#readTimeline(signal);
    }
  }

  async #lookOnce(signal) {
    const isSettled = this.isSettled;
    if (isSettled ? this.#searched !== "ended" : !this.#searched && Date.now() - Date.parse(this.order.createTime) > FAST_FOR_MS) await this.#search(signal);
    await this.#readTraces(signal);
    const now = Date.now();
    const waited = now - Math.max(this.#changedAt, this.#askedAt);
    this.isLooking = !this.#isDone(now) && waited < LOOK_FOR_MS + 1000 * this.settings.traces.decisionSeconds;
    // Some changes make no entry: a charge that begins, goods that leave.
    if (!this.isLooking || (!isSettled && now - this.#readAt > SLOW_MS)) this.#refresh();
    this.#changed();
  }

  // Until then, or until something happens.
  #woken(then) {
    return Promise.race([then, new Promise((resolve) => (this.#wake = resolve))]);
  }

  // Whether nothing more comes by itself.
  get isSettled() {
    return this.order?.status !== "PENDING" && this.entries.length > 0 && !this.#isOwing();
  }

  // Whether the order was cancelled, and something that was done for it is not undone yet.
  #isOwing() {
    if (this.order?.status !== "CANCELLED") return false;
    const events = new Set(this.entries.map(({ event }) => short(event)));
    return Object.entries(this.settings.undoneBy).some(([done, by]) => events.has(done) && !by.some((undone) => events.has(undone)));
  }

  #isDone(now) {
    return this.isSettled && this.#searched === "ended" && this.state.isWhole && now - this.#changedAt > LATE_MS;
  }

  // The stream ends when the order is cancelled; refund and return come after that.
  async #readTimeline(signal) {
    try {
      const { entries } = await read(`/explorer/v1/orders/${this.orderId}/timeline`, signal);
      for (const entry of entries.slice(this.entries.length)) this.#heard(entry);
    } catch (error) {
      // The next look asks again.
      if (!error.isAway) throw error;
    }
  }

  async #search(signal) {
    const searched = this.isSettled ? "ended" : "running";
    try {
      const asked = `/explorer/orders/${this.orderId}/traces?since=${encodeURIComponent(this.order.createTime)}`;
      const { traces } = await read(asked, signal);
      for (const { traceId, title } of traces) this.#know(traceId, title);
    } catch (error) {
      signal.throwIfAborted();
      // The problem of the order's own trace says more.
      if (!(error instanceof Problem)) throw error;
      if (error.isAway) return;
    }
    this.#searched = searched;
  }

  #know(traceId, title) {
    const known = this.traces.get(traceId);
    if (known) known.title ||= title;
    else if (this.traces.size < TRACES_MAX) this.traces.set(traceId, { title, answer: null, problem: null });
  }

  async #readTraces(signal) {
    for (const { traceId } of this.entries) this.#know(traceId, "");
    await Promise.all([...this.traces].map(async ([traceId, trace]) => {
      if (NEVER.includes(trace.problem?.reason)) return;
      try {
        [trace.answer, trace.problem] = [await read(`/explorer/traces/${traceId}`, signal), null];
      } catch (error) {
        signal.throwIfAborted();
        trace.problem = error;
      }
    }));
    const spans = readSpans(...[...this.traces.values()].map(({ answer }) => answer).filter(Boolean));
    // Spans come, and do not change.
    if (spans.length !== this.spans.length) this.spans = spans;
    const problem = this.traces.get(this.order.traceId)?.problem?.reason ?? "";
    const { order, entries, settings: known } = this;
    this.state = traceState({ order, entries, spans: this.spans, problem, settings: known, now: Date.now() });
  }
}

// Until the view is left.
function never(signal) {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}
