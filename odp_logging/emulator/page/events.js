"use strict";
// The list of events, newest first.

const STATUSES = ["accepted", "duplicate", "rejected", "refused", "query"];
const MAX_SHOWN_FIELDS = 8;
// Every library adds these itself; one row has room for the application's values only.
const UNREMARKABLE = new Set(["idempotence_id", "data_source_type", "data_source",
  "data_source_version", "ts"]);

let pending = [];               // items that wait for the next frame
let drawing = false;

const events = new Rows($("events"), {
  count: () => store.view.length,
  keyAt: (i) => store.view[store.view.length - 1 - i].serial,
  indexOf: (serial) => {
    const at = indexIn(store.view, serial);
    return at < 0 ? -1 : store.view.length - 1 - at;
  },
  make: () => makeRow(7, 0, 5),
  fit: (rows) => fitChips(rows, 5),
  fill: (row, i) => fillEvent(row, store.view[store.view.length - 1 - i]),
  open: (serial) => {
    openEvent(findItem(serial));
    eventOpened();
  },
  close: () => {
    closeDetail();
    wanted = null;
    writeAddressSoon();
  },
});

// *flowing* cells contain elements; the others contain text.
function makeRow(cells, ...flowing) {
  const row = element("div", "row");
  row.setAttribute("role", "row");
  for (let i = 0; i < cells; i += 1) {
    const cell = element("span");
    cell.setAttribute("role", "gridcell");
    if (flowing.includes(i)) cell.className = "flow";
    row.append(cell);
  }
  return row;
}

function badge(status) {
  return element("span", `badge ${status}`, icon(status), status);
}

function markOf(item) {
  const found = item.warnings.filter((warning) => warning.level === "warning").length;
  const mark = element("span", "mark", icon("warning"), String(found));
  mark.title = several(found, "warning");
  return mark;
}

function fieldOf(key, value) {
  return element("bdi", "field", element("bdi", "name", brief(key, 40)), brief(value, 160));
}

function dataCell(item) {
  const made = [];
  if (item.reason) made.push(element("span", toneOf(item), visible(item.reason)));
  if (item.event !== item.entry.event) return [...made, element("bdi", "field", brief(masked ? DOTS : item.entry.event))];
  const data = isObject(item.event.data) ? item.event.data : {};
  const secrets = masked ? secretsOf(item.identifiers) : [];
  for (const key of Object.keys(data).slice(0, 24)) {
    if (made.length >= MAX_SHOWN_FIELDS) break;
    if (!UNREMARKABLE.has(key)) made.push(fieldOf(key, masked ? maskValue(key, data[key], secrets) : data[key]));
  }
  return made;
}

function ageOf(item) {
  const data = isObject(item.event.data) ? item.event.data : {};
  const sent = data.ts === undefined ? null : readTime(data.ts);
  return sent === null ? null : item.time - sent;
}

// The badges are created once for each row, and all but one are hidden.
function fillStatus(cell, item) {
  if (!cell.firstChild) cell.append(...STATUSES.map(badge));
  for (const each of [...cell.children].slice(0, STATUSES.length)) each.hidden = !each.classList.contains(item.status);
  if (cell.children[STATUSES.length]) cell.children[STATUSES.length].remove();
  if (item.warned) cell.append(markOf(item));
}

function fillEvent(row, item) {
  const [status, time, age, type, action, who, data] = row.children;
  const under = ageOf(item);
  fillStatus(status, item);
  row.classList.toggle("request", item.bare);
  row.classList.toggle("failed", item.status === "rejected");
  const [seconds, milliseconds] = clock(item.time).split(".");
  time.replaceChildren(seconds, element("span", "milliseconds", `.${milliseconds}`));
  data.removeAttribute("title");
  if (item.bare) {
    for (const cell of [age, type, who]) cell.replaceChildren();
    return fillRequest(action, data, item);
  }
  age.textContent = under === null ? "–" : span(under);
  type.replaceChildren(element("bdi", "", brief(item.type)));
  action.replaceChildren(element("bdi", "", brief(item.action)));
  who.replaceChildren(...chips(item.identifiers));
  data.replaceChildren(...dataCell(item));
  row.classList.toggle("bare-data", !data.firstChild);
}

function drawEvents() {
  drawing = false;
  const items = pending;
  pending = [];
  const added = addItems(items);
  sayShown();
  events.update(added);
  afterItems();
}

// Not an animation frame alone: a tab in the background gets none, and items would pile up.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && drawing) setTimeout(() => { if (drawing) drawEvents(); }, 250);
});

function drawSoon() {
  if (drawing) return;
  drawing = true;
  // A tab in the background gets no animation frames.
  if (document.hidden) setTimeout(drawEvents, 250);
  else requestAnimationFrame(drawEvents);
}

function sayShown() {
  const [shown, kept] = [store.view.length, store.items.length];
  $("shown").textContent = kept === 0 ? ""
    : shown === kept ? `${count(shown)} shown` : `${count(shown)} of ${count(kept)} shown`;
  $("empty").hidden = kept !== 0;
  $("none").hidden = kept === 0 || shown !== 0;
  $("events").hidden = shown === 0;
}
