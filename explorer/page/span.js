// The panel of one span: its facts, its line of code, its attributes, where its links lead.

import { fill, h, successor } from "./dom.js";
import { clock, duration } from "./format.js";
import { traceLink } from "./settings.js";
import { drawSource } from "./source.js";

const element = document.getElementById("span");
const narrow = matchMedia("(max-width: 999px)");

export class SpanPanel {
  #spanId = "";
  #settings = null;
  // Where the focus was before the panel took it.
  #before = null;
  #shown = null;

  // `spans()` are those that can be shown; `address(spanId)` is the hash that opens one, and closes the panel for "".
  constructor({ spans, address, signal }) {
    Object.assign(this, { spans, address, signal });
    document.addEventListener("keydown", (event) => this.#pressed(event), { signal });
    narrow.addEventListener("change", () => this.#lay(), { signal });
    signal.addEventListener("abort", () => this.#hide());
  }

  // By the address, which then opens it; the focus comes back to where it is now.
  goTo(spanId) {
    if (!element.contains(document.activeElement)) this.#before = document.activeElement;
    location.hash = this.address(spanId);
  }

  open(spanId) {
    this.#spanId = spanId;
    this.#shown = null;
    element.hidden = false;
    this.#lay();
    this.#draw();
    element.scrollTop = 0;
    element.querySelector("h2").focus({ preventScroll: true });
  }

  // After spans came.
  redraw(settings) {
    this.#settings = settings;
    if (this.#spanId && !this.#shown) this.#draw();
  }

  close() {
    if (!this.#spanId) return;
    const spanId = this.#spanId;
    this.#hide();
    const before = this.#before && successor(this.#before);
    const shows = () => document.querySelector(`main [data-span="${spanId}"]`) ?? document.querySelector("main h1");
    (before ?? shows())?.focus({ preventScroll: true });
    this.#before = null;
  }

  #hide() {
    this.#spanId = "";
    element.hidden = true;
    this.#lay();
  }

  // Beside the page if there is room, else over it; then nothing of the page can be reached.
  #lay() {
    const isOpen = !element.hidden;
    const isOver = isOpen && narrow.matches;
    document.body.classList.toggle("with-span", isOpen);
    for (const each of document.querySelectorAll("body > header, main, .skip")) each.inert = isOver;
    element.setAttribute("role", isOver ? "dialog" : "complementary");
    if (isOver) element.setAttribute("aria-modal", "true");
    else element.removeAttribute("aria-modal");
  }

  #pressed(event) {
    if (event.key === "Escape" && this.#spanId) location.hash = this.address("");
  }

  #draw() {
    const span = this.spans().find(({ id }) => id === this.#spanId);
    if (this.#shown && this.#shown === span) return;
    this.#shown = span ?? null;
    const closing = h("button", { type: "button", class: "close", onclick: () => (location.hash = this.address("")) }, "Close ✕");
    const title = h("h2", { id: "span-title", tabindex: "-1" }, span?.name ?? `Span ${this.#spanId}`);
    const isFocused = element.contains(document.activeElement);
    fill(element, h("div", { class: "span-head" }, title, closing), span
      ? this.#parts(span) : h("p", {}, "The trace does not have this span yet. It is shown when it has come."));
    if (isFocused) title.focus({ preventScroll: true });
    if (span) drawSource(this.source, span.attributes, this.signal);
  }

  #parts(span) {
    this.source = h("div", {});
    return [
      facts(span),
      this.#settings && h("p", {}, traceLink(this.#settings, span.traceId, span.id)),
      this.source,
      attributes(span.attributes),
      this.#links(span),
      events(span),
    ];
  }

  // The address of a link's target: here if it is one of these spans, else in its own trace.
  linked({ traceId, spanId }) {
    return this.spans().some(({ id }) => id === spanId) ? this.address(spanId) : `#/traces/${traceId}/${spanId}`;
  }

  #links({ links }) {
    if (!links.length) return null;
    const item = (link) => {
      const target = this.spans().find(({ id }) => id === link.spanId);
      const name = target ? `${target.name} (${target.service})` : `span ${link.spanId} of trace ${link.traceId.slice(0, 8)}…`;
      const notes = Object.entries(link.attributes).map(([key, value]) => `${key} ${value}`).join(", ");
      return h("li", {}, h("a", { href: this.linked(link) }, "→ ", name), h("span", { class: "small quiet" }, ` ${notes}`));
    };
    return [h("h3", {}, "Links"), h("ul", { class: "links" }, links.map(item))];
  }
}

function facts({ service, instance, kind, start, end, error, id, traceId }) {
  const rows = [
    ["Service", service], ["Replica", instance], ["Kind", kind.toLowerCase()], ["Began", clock(start)],
    ["Took", duration(end - start)], ["Error", error && h("span", { class: "fault" }, "✕ ", error)],
    ["Span", h("code", {}, id)], ["Trace", h("code", {}, traceId)],
  ];
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// What belongs to this shop alone stands first.
function attributes(has) {
  const own = (key) => (key.startsWith("shop.") ? 0 : 1);
  const names = Object.keys(has).sort((one, other) => own(one) - own(other) || (one < other ? -1 : 1));
  if (!names.length) return null;
  return [
    h("h3", {}, "Attributes"),
    h("table", { class: "attributes" },
      h("caption", { class: "sr-only" }, "Attributes"),
      h("tbody", {}, names.map((key) =>
        h("tr", { class: key.startsWith("shop.") ? "own" : null }, h("th", { scope: "row" }, key), h("td", {}, shown(has[key])))))),
  ];
}

function shown(value) {
  return typeof value === "object" ? [value].flat().map((each) => (typeof each === "object" ? JSON.stringify(each) : each)).join(", ") : String(value);
}

function events({ events: all, start }) {
  if (!all.length) return null;
  return [
    h("h3", {}, "Events"),
    h("ol", { class: "links" }, all.map(({ name, at, attributes: has }) => h(
      "li", {}, h("b", {}, name), ` +${duration(at - start)} `,
      Object.entries(has).map(([key, value]) => h("div", { class: "small detail" }, h("b", {}, key), ` ${shown(value)}`))))),
  ];
}
