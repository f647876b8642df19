// The lines of code around the one that a span names.

import { Problem, text } from "./api.js";
import { fill, h } from "./dom.js";

const BEFORE = 4;
// A span names where its function begins.
const AFTER = 16;
const files = new Map();

// Of the span that has these attributes; each file is asked for once.
export async function drawSource(part, { "code.file.path": path, "code.line.number": line }, signal) {
  if (!path) return;
  const heading = h("h3", {}, "Source ", h("code", { class: "small" }, `${path}:${line}`));
  const say = (what) => fill(part, heading, what);
  try {
    say("Asking for the file…");
    if (!files.has(path)) files.set(path, (await text(`/explorer/source?path=${encodeURIComponent(path)}`, signal)).split("\n"));
    say(around(path, Number(line), files.get(path)));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    say(error.isAbsent ? "This file is not among those that the gateway shows." : `The file could not be read: ${error.message}`);
  }
}

function around(path, line, lines) {
  const first = Math.max(1, line - BEFORE);
  const last = Math.min(lines.length, line + AFTER);
  if (first > lines.length) return `The file has no line ${line}: it is not the one that ran.`;
  const row = (content, index) => {
    const number = first + index;
    const isIt = number === line;
    return h("li", { "aria-current": isIt ? "true" : null, value: String(number) },
      isIt && h("span", { class: "sr-only" }, "This line: "),
      h("code", {}, content || " "));
  };
  const label = `${path}, lines ${first} to ${last}`;
  return h("div", { class: "source", tabindex: "0", role: "region", "aria-label": label },
    h("ol", {}, lines.slice(first - 1, last).map(row)));
}
