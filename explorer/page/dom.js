// Makes elements: `h("p", {class: "note"}, "text", child)`. Text is always text, never markup.

// Properties: `on…` are listeners, `dataset` and `style` are objects, true and false set and unset an attribute.
export function h(tag, properties = {}, ...children) {
  return made(document.createElement(tag), properties, children);
}

// Replaces what an element holds.
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

// A text that is the same is not written: that would lay the page out again, and be said again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Draws anew; who stood on an element stands on its successor.
export function keepingFocus(container, draw) {
  const before = container.contains(document.activeElement) ? document.activeElement : null;
  draw();
  if (before && !before.isConnected) successor(before, container)?.focus({ preventScroll: true });
}

// The element itself if it is still there, else the one that was drawn in its place: by its `data-key`, else its `data-span`.
export function successor(element, container = document) {
  if (element.isConnected) return element;
  const { key, span } = element.dataset;
  if (key) return container.querySelector(`[data-key="${CSS.escape(key)}"]`);
  return span ? container.querySelector(`[data-span="${CSS.escape(span)}"]`) : null;
}

// A name such as RELEASING_STOCK or StockReleased, that may be broken where its words meet, if there is no room.
export function breakable(name) {
  const [first, ...rest] = name.split(/(?<=_)|(?<=[a-z])(?=[A-Z])/);
  return [first, rest.map((word) => [h("wbr"), word])];
}

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") {
      // Through the object: the page's policy refuses style attributes.
      for (const [property, each] of Object.entries(value)) element.style.setProperty(property, each);
    } else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
