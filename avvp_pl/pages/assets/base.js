"use strict";

// Data enters the page as text only; it is never parsed as markup.
const content = JSON.parse(document.getElementById("content").textContent);
const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`) and children; strings become text. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Text that can break after these signs (= before a long value), so that a long label never breaks inside a word. */
const breakable = (text) => (text.match(/(?:[^_,/@=]|=(?!\S{6}))+(?:[_,/@]+|=)?|[_,/@=]+/g) ?? []).flatMap((part, k) => (k ? [h("wbr"), part] : [part]));
const hidden = (text) => h("span", { class: "unseen" }, text);
const narrow = matchMedia("(max-width: 719px)").matches;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Write down what a page is about: pairs of a name and a value. */
function writeFacts(pairs) {
  for (const [name, value] of pairs) byId("facts").append(h("div", null, h("dt", null, name), h("dd", null, value)));
}

/** Whether keys are text where the focus is. */
const typing = (element) => element.matches("select, textarea, input:not([type=range], [type=checkbox], [type=radio])");

/** Whether somebody asks for more than the key itself. */
const modified = (key) => key.ctrlKey || key.metaKey || key.altKey;

/** A name that is shortened in its middle, because names often differ at their ends. */
function shortened(name) {
  const end = name.length > 18 ? name.length - 8 : name.length;
  return h("span", { class: "name", title: name }, h("span", { class: "start" }, name.slice(0, end)), h("span", null, name.slice(end)));
}

/** Mark the chosen row of a list (null: none) in place of another one, and scroll the list, but not the page, to it. */
function markRow(list, row, before) {
  before?.setAttribute("aria-selected", "false");
  if (!row) {
    list.removeAttribute("aria-activedescendant");
    return;
  }
  row.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", row.id);
  const top = row.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + row.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + row.offsetHeight - list.clientHeight;
}

/** Let the arrow keys go through a list: `step` goes on by a number of its rows, of which there are `count()`. */
function stepByKeys(list, step, count) {
  list.addEventListener("keydown", (key) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -count(), End: count() }[key.key];
    if (by === undefined || modified(key)) return;
    key.preventDefault();
    step(by);
  });
}

/** Call `act` with a delay, once for many calls: browsers limit how often the address may change while a key is held. */
function soon(act) {
  let waiting = 0;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(act, 200);
  };
}
