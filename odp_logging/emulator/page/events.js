"use strict";
// The list of events, newest first, and the filters above it.

const ROW = 30;
const MAX_CHIPS = 4;
const MAX_SHOWN_FIELDS = 5;
// Said by every library itself; what the application said matters more in one line.
const UNREMARKABLE = new Set(["idempotence_id", "data_source_type", "data_source",
  "data_source_version", "ts"]);

let pending = [];               // items that wait for the next frame
let drawing = false;

const events = new Rows($("events"), ROW, {
  count: () => store.view.length,
  keyAt: (i) => store.view[store.view.length - 1 - i].serial,
  indexOf: (serial) => {
    const at = indexIn(store.view, serial);
    return at < 0 ? -1 : store.view.length - 1 - at;
  },
  make: () => makeRow(7, 0, 5),
  fill: (row, i) => fillEvent(row, store.view[store.view.length - 1 - i]),
  open: (serial) => openEvent(findItem(serial)),
  close: () => closeDetail(),
});

// *flowing* cells hold things in a row; the others hold text.
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

function pair(className, key, value) {
  return element("bdi", className, element("bdi", "name", brief(key, 40)), brief(value, 80));
}

// Short enough to stand beside others: of a vuid its beginning will do.

function chip(key, value) {
  const text = clipped(asText(value), 24);
  return pair(text.length > 20 ? "chip long" : "chip", key, text);
}

function chips(identifiers) {
  const made = identifiers.slice(0, MAX_CHIPS).map(([key, value]) => chip(key, value));
  if (identifiers.length > MAX_CHIPS)
    made.push(element("span", "dim", `+${count(identifiers.length - MAX_CHIPS)}`));
  return made;
}

function dataCell(item) {
  const made = [];
  if (item.reason) made.push(element("span", "reason", visible(item.reason)));
  if (item.status === "refused") return made;
  if (item.event !== item.entry.event) return [...made, element("bdi", "field", brief(item.entry.event))];
  const data = isObject(item.event.data) ? item.event.data : {};
  for (const key of Object.keys(data).slice(0, 24)) {
    if (made.length >= MAX_SHOWN_FIELDS) break;
    if (!UNREMARKABLE.has(key)) made.push(pair("field", key, data[key]));
  }
  return made;
}

function ageOf(item) {
  const data = isObject(item.event.data) ? item.event.data : {};
  const sent = data.ts === undefined ? null : readTime(data.ts);
  return sent === null ? null : item.time - sent;
}

// The badges are made once, and all but one hidden.
function fillStatus(cell, item) {
  if (!cell.firstChild) cell.append(...["accepted", "duplicate", "rejected", "refused"].map(badge));
  for (const each of [...cell.children].slice(0, 4)) each.hidden = !each.classList.contains(item.status);
  if (cell.children[4]) cell.children[4].remove();
  if (item.warned) cell.append(markOf(item));
}

function fillEvent(row, item) {
  const [status, time, age, type, action, who, data] = row.children;
  const under = ageOf(item);
  fillStatus(status, item);
  time.textContent = clock(item.time);
  age.textContent = under === null ? "–" : span(under);
  type.replaceChildren(element("bdi", "", brief(item.type)));
  action.replaceChildren(element("bdi", "", item.status === "refused" ? `request ${item.n}` : brief(item.action)));
  who.replaceChildren(...chips(item.identifiers));
  data.replaceChildren(...dataCell(item));
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

// Not for an animation frame of a tab that has gone behind since: what comes would pile up.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && drawing) setTimeout(() => { if (drawing) drawEvents(); }, 250);
});

function drawSoon() {
  if (drawing) return;
  drawing = true;
  // Animation frames stand still in a tab that is not in front.
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
  $("reset").hidden = !isFiltered();
}

function words(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function filterNow() {
  filter.words = words($("filter").value);
  filter.who = words($("filter-who").value);
  filter.type = chosen($("filter-type"));
  filter.action = chosen($("filter-action"));
  filter.problems = $("problems").checked;
  $("filter-check").hidden = filter.check === null;
  applyFilter();
  sayShown();
  events.update();
}

function resetFilter() {
  for (const id of ["filter", "filter-who"]) $(id).value = "";
  for (const id of ["filter-type", "filter-action"]) $(id).selectedIndex = 0;
  $("problems").checked = false;
  filter.check = null;
  filterNow();
}

function filterByWho(key, value) {
  resetFilter();
  $("filter-who").value = clipped(`${key} ${asText(value)}`, 400);
  filterNow();
  showView("events");
}

function filterByCheck(check, field, label) {
  resetFilter();
  filter.check = {check, field};
  $("filter-check").replaceChildren(visible(clipped(label, 60)), " ✕");
  filterNow();
  showView("events");
}

function chosen(select) {
  return select.selectedIndex > 0 ? select.selectedOptions[0].chosenValue : null;
}

// The choices of a select, as far as there are any; what is chosen stays.
function offer(select, title, seen) {
  const was = chosen(select);
  const found = [...seen.entries()].sort((a, b) => b[1] - a[1]).slice(0, MAX_CHOICES);
  if (was !== null && !found.some(([value]) => value === was)) found.push([was, 0]);
  const options = found.map(([value, number]) => {
    const option = element("option", "", `${plain(clipped(value, 60)) || "(none)"}  ${count(number)}`);
    option.chosenValue = value;
    return option;
  });
  select.replaceChildren(element("option", "", title), ...options);
  select.selectedIndex = was === null ? 0 : 1 + found.findIndex(([value]) => value === was);
}

function offerChoices() {
  // Not under somebody's hand.
  if (document.activeElement !== $("filter-type")) offer($("filter-type"), "All types", store.types);
  if (document.activeElement !== $("filter-action")) offer($("filter-action"), "All actions", store.actions);
}
