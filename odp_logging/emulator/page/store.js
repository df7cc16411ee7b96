"use strict";
// What has arrived, oldest first, and which of it the filters let through.

// Of an event that is larger than this, the text filter sees no more.
const SEARCHED = 16384;
const MAX_CHOICES = 200;

const store = {
  items: [],                    // all that is kept
  view: [],                     // of it, what the filters let through
  limit: 10000,
  serial: 0,
  types: new Map(),             // how many items of each
  actions: new Map(),
  seconds: new Map(),           // how many events in each second
  warned: 0,                    // items with a warning
};

const filter = {words: [], type: null, action: null, who: [], problems: false, check: null};

function readEntry(raw) {
  const entry = JSON.parse(raw);
  const event = isObject(entry.event) ? entry.event : {};
  const identifiers = Object.entries(isObject(event.identifiers) ? event.identifiers : {});
  const said = entry.warnings.map((warning) => `${warning.field} ${warning.text}`);
  const text = [entry.status, entry.reason || "", ...said, JSON.stringify(entry.event)].join("\n");
  return {
    n: entry.n, entry, raw, event, identifiers,
    status: entry.status, time: entry.received, reason: entry.reason || "",
    type: named(event.type), action: named(event.action), warnings: entry.warnings,
    warned: entry.warnings.some((warning) => warning.level === "warning"),
    text: text.slice(0, SEARCHED).toLowerCase(),
    who: identifiers.map(([key, value]) => `${key} ${asText(value)}`).join("\n").toLowerCase(),
  };
}

// A request that was refused as a whole, of which the ledger keeps no event.
function readRequest(raw) {
  const entry = JSON.parse(raw);
  const reason = sayRefused(entry);
  return {
    n: entry.n, entry, raw: null, event: {}, identifiers: [],
    status: "refused", time: entry.time, reason, type: "", action: "", warnings: [],
    warned: false, text: `refused\n${reason}`.toLowerCase(), who: "",
  };
}

function named(value) {
  return value === undefined || value === null ? "" : asText(value);
}

function sayRefused({status, events, lost, answer}) {
  const what = status === 0 ? "connection dropped" : `HTTP ${status} ${answer.title}`;
  const detail = messageOf(answer.body);
  const kept = events && !lost ? (events === 1 ? "its event was kept" : `its ${several(events, "event")} were kept`)
    : events ? `${several(lost, "event")} not taken` : "";
  return [what + (answer.fault ? ", by a fault" : ""), detail, kept].filter(Boolean).join(" · ");
}

function messageOf(body) {
  try {
    const read = JSON.parse(body);
    return String((read.detail && read.detail.message) || "");
  } catch {
    return "";
  }
}

function tally(map, key, by) {
  const left = (map.get(key) || 0) + by;
  if (left > 0) map.set(key, left);
  else map.delete(key);
}

function account(item, by) {
  if (item.warned) store.warned += by;
  if (item.status === "refused") return;
  tally(store.types, item.type, by);
  tally(store.actions, item.action, by);
}

function isProblem(item) {
  return item.status !== "accepted" || item.warned;
}

function matches(item) {
  if (filter.problems && !isProblem(item)) return false;
  if (filter.type !== null && (item.type !== filter.type || item.status === "refused")) return false;
  if (filter.action !== null && (item.action !== filter.action || item.status === "refused")) return false;
  if (!filter.who.every((word) => item.who.includes(word))) return false;
  if (filter.check && !item.warnings.some((warning) => warning.check === filter.check.check
    && (filter.check.field === null || warning.field === filter.check.field))) return false;
  return filter.words.every((word) => item.text.includes(word));
}

function isFiltered() {
  return filter.problems || filter.type !== null || filter.action !== null
    || filter.check !== null || filter.who.length > 0 || filter.words.length > 0;
}

// Enter *items*; answers with how many of them are in the view.
function addItems(items) {
  let added = 0;
  for (const item of items) {
    store.serial += 1;
    item.serial = store.serial;
    store.items.push(item);
    account(item, 1);
    if (matches(item)) {
      store.view.push(item);
      added += 1;
    }
  }
  trim();
  return added;
}

function trim() {
  const over = store.items.length - store.limit;
  if (over <= 0) return;
  const gone = store.items.splice(0, over);
  for (const item of gone) account(item, -1);
  const last = gone[gone.length - 1].serial;
  const stays = store.view.findIndex((item) => item.serial > last);
  store.view.splice(0, stays < 0 ? store.view.length : stays);
}

function applyFilter() {
  store.view = isFiltered() ? store.items.filter(matches) : store.items.slice();
}

function emptyStore() {
  Object.assign(store, {items: [], view: [], warned: 0});
  for (const map of [store.types, store.actions, store.seconds]) map.clear();
}

function countSecond(time) {
  const second = Math.floor(time);
  store.seconds.set(second, (store.seconds.get(second) || 0) + 1);
}

// Events in each of the 60 seconds up to *now*, oldest first.
function lastMinute(now) {
  const end = Math.floor(now);
  for (const second of store.seconds.keys())
    if (second < end - 60) store.seconds.delete(second);
  return Array.from({length: 60}, (_, i) => store.seconds.get(end - 59 + i) || 0);
}

function findItem(serial) {
  const i = indexIn(store.items, serial);
  return i < 0 ? null : store.items[i];
}

// Where the item with *serial* stands in a list that is ordered by it, or -1.
function indexIn(list, serial) {
  let low = 0;
  let high = list.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (list[middle].serial === serial) return middle;
    if (list[middle].serial < serial) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}
