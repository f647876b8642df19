// The frame: which view the address names, its title, and where the focus goes.

import { fill, h } from "./dom.js";
import * as front from "./front.js";
import * as order from "./order.js";
import { settings, tracesHome } from "./settings.js";
import * as trace from "./trace_view.js";

const ID = "([0-9a-fA-F-]{36})";
const TRACE = "([0-9a-f]{32})";
const SPAN = "(?:/([0-9a-f]{16}))?";
const ROUTES = [
  [/^(?:#\/?)?$/, front],
  [new RegExp(`^#/orders/${ID}${SPAN}$`), order],
  [new RegExp(`^#/traces/${TRACE}${SPAN}$`), trace],
];
const main = document.getElementById("main");

// The view that is shown: its module, what it shows, and how it ends.
let shown = null;

function route() {
  const hash = location.hash;
  // An anchor of the page itself, such as the skip link's.
  if (hash && !hash.startsWith("#/")) return;
  for (const [pattern, view] of ROUTES) {
    const found = pattern.exec(hash);
    if (found) return open(view, { id: found[1] ?? "", span: found[2] ?? "" });
  }
  open(nowhere, { id: hash, span: "" });
}

function open(view, parameters) {
  if (shown?.view === view && shown.id === parameters.id) {
    shown.handle?.move?.(parameters);
    return;
  }
  const isFirst = shown === null;
  shown?.left.abort();
  const left = new AbortController();
  fill(main);
  window.scrollTo(0, 0);
  shown = { view, id: parameters.id, left };
  shown.handle = view.show(main, parameters, left.signal);
  for (const link of document.querySelectorAll('.top nav a[href="#/"]'))
    link.ariaCurrent = view === front ? "page" : null;
  // Who comes by a link hears where they are; who just opened the page begins at its top.
  if (!isFirst) main.querySelector("h1")?.focus({ preventScroll: true });
}

const nowhere = {
  show(container, { id }) {
    document.title = "Not found · Shop explorer";
    fill(container, h("h1", { tabindex: "-1" }, "There is no such page"),
      h("p", {}, "Nothing here is called ", h("code", {}, id), ". ", h("a", { href: "#/" }, "To the orders"), "."));
  },
};

async function linkTraces() {
  const link = document.getElementById("traces");
  try {
    [link.href, link.textContent] = tracesHome(await settings());
    link.hidden = false;
  } catch {
    // The gateway is away; the views say so. They ask again, and so does the next load.
    link.hidden = true;
  }
}

document.getElementById("skip").addEventListener("click", (event) => {
  // The address names the view, and must go on naming it.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
route();
linkTraces();
