// Draws a story (story.js) as a sequence diagram: a list of rows in time, with lanes where there is room for them.

import { fill, h } from "./dom.js";
import { clock, duration } from "./format.js";

const ROW_PX = 34;
// Waits beside one another on a lane.
const SLOT_PX = 10;
const LEGEND = [
  ["call", "asks"], ["answer", "answers"], ["sent", "an event, over Kafka"], ["undoes", "undoes"], ["failed", "fails ✗"],
  ["waits outbox", "waits in an outbox"], ["waits broker", "waits on Kafka"], ["entry", "said by the timeline; its spans have not come"],
];

// `open(span)` is called when a row is pressed, `follow(link)` when a link is; `selected` is the id of the open span.
export function drawDiagram(container, story, { open, follow, selected = "" }) {
  const known = new Set(container.drawn ?? []);
  const lane = new Map(story.lanes.map((name, index) => [name, index]));
  const rows = story.rows.map((row, index) => drawn(row, { story, lane, open, follow, selected, isNew: !known.has(key(row, index)), index }));
  fill(container,
    h("div", { class: "diagram", style: { "--lanes": String(Math.max(1, story.lanes.length)), "--row": `${ROW_PX}px` } },
      h("div", { class: "lanes", "aria-hidden": "true" }, h("span", { class: "time" }, "time"), story.lanes.map((name) => h("span", { class: "lane" }, name))),
      h("div", { class: "stage" },
        h("div", { class: "layer", "aria-hidden": "true" }, lifelines(story, lane), waits(story, lane), causes(story, lane)),
        h("ol", { class: "rows", "aria-label": `What happened, ${story.rows.length} rows` }, rows)),
      legend(story)));
  container.drawn = story.rows.map(key);
}

function key(row, index) {
  return row.span ? `${row.kind}/${row.span.id}` : `${row.kind}/${row.text}/${index}`;
}

function drawn(row, { story, lane, open, follow, selected, isNew, index }) {
  const isArrow = row.from !== undefined;
  const [a, b] = isArrow ? [lane.get(row.from), lane.get(row.to)] : [lane.get(row.lane), lane.get(row.lane)];
  const classes = ["row", row.kind, row.undoes && "undoes", row.failed && "failed", isArrow && (b > a ? "right" : "left"), isNew && "new"];
  const isSelected = row.span !== null && row.span?.id === selected;
  const content = [
    h("span", { class: "sr-only" }, [row.text, ...row.remarks].join("; ")),
    h("span", { class: "where", "aria-hidden": "true" }, isArrow ? `${row.from} → ${row.to}` : row.lane ?? ""),
    h("span", { class: "label", "aria-hidden": "true" }, mark(row), row.label),
    row.remarks.length ? h("span", { class: "remarks", "aria-hidden": "true" }, row.remarks.join(" · ")) : null,
  ];
  const style = a === undefined ? {} : { "--a": String(Math.min(a, b)), "--b": String(Math.max(a, b)) };
  return h("li", { class: classes.filter(Boolean).join(" "), style },
    h("span", { class: "time", title: clock(row.at) }, row.kind === "pause" ? "" : `+${duration(row.at - story.begin)}`),
    h("div", { class: "cell" },
      isArrow ? h("span", { class: "line", "aria-hidden": "true" }) : null,
      row.span
        ? h("button", {
          class: "what", type: "button", title: row.remarks.join(" · "), dataset: { key: key(row, index) },
          "aria-pressed": String(isSelected), onclick: () => open(row.span),
        }, content)
        : h("span", { class: "what" }, content),
      (row.links ?? []).map((link) => linked(link, story, follow))));
}

function mark(row) {
  if (row.failed) return "✗ ";
  return row.undoes ? "↶ " : row.kind === "promise" ? "□ " : "";
}

function linked(link, story, follow) {
  const target = story.rows.find((row) => row.span?.id === link.spanId && row.kind !== "answer");
  const says = target ? `because of: ${target.label}, at +${duration(target.at - story.begin)}` : "linked with another trace";
  return h("button", { class: "link", type: "button", title: says, onclick: () => follow(link) },
    h("span", { "aria-hidden": "true" }, target ? "↑" : "↗"), h("span", { class: "sr-only" }, `${target ? "Its cause, " : ""}${says}`));
}

function lifelines(story, lane) {
  return story.lanes.map((name) => h("span", { class: "life", style: { "--a": String(lane.get(name)) } }));
}

// Vertical bars, from the row at which a message began to wait to the row at which it ended.
function waits(story, lane) {
  const taken = new Map();
  return story.waits.map((wait) => {
    const ends = taken.get(wait.lane) ?? [];
    let slot = ends.findIndex((end) => end <= wait.from);
    if (slot < 0) slot = ends.length;
    ends[slot] = wait.to;
    taken.set(wait.lane, ends);
    return h("span", {
      class: `wait ${wait.place}`, title: wait.label,
      style: { "--a": String(lane.get(wait.lane)), "--from": String(wait.from), "--to": String(wait.to), "--slot": `${slot * SLOT_PX}px` },
    });
  });
}

// Dotted, from a row to the row that links to it.
function causes(story, lane) {
  const at = new Map(story.rows.map((row, index) => [row.span?.id, index]).filter(([id]) => id).reverse());
  return story.rows.flatMap((row, index) =>
    (row.links ?? []).filter((link) => at.has(link.spanId) && at.get(link.spanId) < index).map((link) =>
      h("span", { class: "cause", style: { "--a": String(lane.get(row.lane ?? row.to)), "--from": String(at.get(link.spanId)), "--to": String(index) } })));
}

function legend(story) {
  const shown = LEGEND.filter(([kind]) =>
    story.rows.some((row) => row.kind === kind || row[kind]) || story.waits.some((wait) => kind === `waits ${wait.place}`));
  return h("ul", { class: "legend", "aria-hidden": "true" }, shown.map(([kind, says]) => h("li", {}, h("i", { class: kind }), says)));
}
