// What waits in the shop, from the figures of every replica, and the `./shop` line that acts on it.

import { announce } from "./announce.js";
import { read } from "./api.js";
import { fill, h } from "./dom.js";
import { duration, plural } from "./format.js";
import { pause, whileVisible } from "./live.js";

const POLL_MS = 5000;
// Replicas of a service measure the same database, so the largest of them counts; what a process counted itself is summed.
const most = (values) => Math.max(...values);
const sum = (values) => values.reduce((one, other) => one + other, 0);
const REFUNDS = "SELECT order_id, attempts FROM payments WHERE refund_requested_at <= now() AND next_attempt_at IS NOT NULL";
const KINDS = [
  {
    title: "Outbox", tells: "events that Kafka does not have yet", figure: "shop_outbox_backlog",
    age: "shop_outbox_backlog_age_seconds", of: most, acts: (service) => `./shop outbox ${service}`,
  },
  {
    title: "Command outbox", tells: "commands that nobody has accepted yet", figure: "shop_command_outbox_backlog",
    age: "shop_command_outbox_backlog_age_seconds", of: most, acts: (service) => `./shop outbox ${service}`,
  },
  {
    title: "Parked sagas", tells: "orders that wait for an operator", figure: "shop_saga_parked", of: most,
    acts: () => "./shop sagas list --parked", then: "./shop sagas retry ORDER_ID",
  },
  {
    title: "Dead letters", tells: "messages given up since the service started", figure: "shop_dead_letters_total", of: sum,
    acts: () => "./shop dead-letters list", then: "./shop dead-letters redrive TOPIC",
  },
  {
    title: "Consumer lag", tells: "messages on Kafka that nobody has handled yet", figure: "shop_consumer_lag", of: sum,
    acts: () => "./shop doctor",
  },
  {
    title: "Open refunds", tells: "customers who wait for their money", figure: "shop_payments_open_refunds",
    age: "shop_payments_oldest_open_refund_age_seconds", of: most,
    acts: () => `./shop psql payment -c "${REFUNDS}"`,
  },
];

export function showWaiting(container, signal) {
  const summary = h("span", { class: "waiting-sum", role: "status" }, "Asking…");
  const list = h("dl", { class: "figures" });
  const away = h("div", { class: "away" });
  fill(container, h("details", { open: matchMedia("(min-width: 1100px)").matches },
    h("summary", {}, h("h2", { id: "waiting-title" }, "What waits"), summary), away, list));
  follow({ summary, list, away }, signal);
}

async function follow(parts, signal) {
  let before = "";
  await whileVisible(signal, async (seen) => {
    for (;;) {
      const found = await asked(seen);
      // Drawn only when something changed, so that a reader who selects a line keeps the selection.
      const now = JSON.stringify(found);
      if (now !== before) draw(parts, found);
      before = now;
      await pause(POLL_MS, seen);
    }
  });
}

async function asked(signal) {
  try {
    const { replicas } = await read("/explorer/replicas", signal);
    return { kinds: KINDS.map((kind) => counted(kind, replicas)), away: replicas.filter(({ error }) => error) };
  } catch (error) {
    signal.throwIfAborted();
    return { problem: error.message };
  }
}

// Per service, for services that have such a figure.
function counted({ figure, age, of }, replicas) {
  const services = new Map();
  for (const { service, figures } of replicas) {
    const samples = figures?.[figure];
    if (!samples) continue;
    const ages = (figures[age] ?? []).map(({ value }) => value);
    const { counts, oldest } = services.get(service) ?? { counts: [], oldest: 0 };
    // The samples of one replica are its partitions, groups or topics.
    counts.push(sum(samples.map(({ value }) => value)));
    services.set(service, { counts, oldest: Math.max(oldest, ...ages) });
  }
  return [...services].map(([service, { counts, oldest }]) => ({ service, count: of(counts), oldest }));
}

function draw({ summary, list, away }, { kinds, away: silent = [], problem }) {
  if (problem) return fill(summary, "The shop does not answer; trying again…");
  const total = sum(kinds.flat().map(({ count }) => count > 0));
  const waits = total === 0 ? "✓ Nothing waits" : `! ${plural(total, "figure is", "figures are")} above zero`;
  fill(summary, silent.length ? `${waits}; ${plural(silent.length, "replica does", "replicas do")} not answer` : waits);
  summary.dataset.waits = String(total > 0 || silent.length > 0);
  fill(away, silent.map(({ service, replica, error }) => h(
    "p", { class: "fault" }, "✕ ", h("b", {}, service), ` at ${replica} gives no figures: ${error} `, line("./shop services"))));
  return fill(list, KINDS.map((kind, index) => row(kind, kinds[index])));
}

function row({ title, tells, acts, then }, services) {
  const waits = services.filter(({ count }) => count > 0);
  return h("div", { class: "figure", dataset: { waits: String(waits.length > 0) } },
    h("dt", {}, h("b", {}, title), " ", h("span", { class: "small quiet" }, tells)),
    h("dd", {},
      services.length ? h("ul", { class: "counts" }, services.map(count)) : h("span", { class: "quiet" }, "not known"),
      line(acts(waits[0]?.service ?? "")),
      waits.length > 0 && then && line(then)));
}

function count({ service, count: value, oldest }) {
  const age = oldest > 0 ? `, oldest ${duration(oldest * 1000)}` : "";
  return h("li", { dataset: { waits: String(value > 0) } }, value > 0 && "! ", `${service} `, h("b", {}, String(value)), age);
}

// A line for a terminal, and a button that copies it.
export function line(command) {
  const copy = h("button", { type: "button", class: "copy", "aria-label": `Copy ${command}`, onclick: copied }, "Copy");
  async function copied() {
    try {
      await navigator.clipboard.writeText(command);
      announce("Copied");
      fill(copy, "Copied");
    } catch {
      // Without leave to write to the clipboard, the reader copies what is selected.
      getSelection().selectAllChildren(copy.previousElementSibling);
      announce("Selected");
      fill(copy, "Selected");
    }
  }
  return h("span", { class: "command" }, h("code", {}, command.trim()), copy);
}
