"use strict";
// The items that have arrived, oldest first, and those that match the filters.

// Characters of one event that the text filter searches.
const SEARCHED = 16384;
const MAX_CHOICES = 200;

const store = {
  items: [],                    // all kept items
  view: [],                     // those that match the filters
  limit: 10000,
  serial: 0,
  types: new Map(),             // number of items of each
  actions: new Map(),
  seconds: new Map(),           // number of events in each second
  checks: new Map(),            // number of items that each check found
};

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
    warned: entry.warnings.some((warning) => warning.level === "warning"), bare: false,
    text: text.slice(0, SEARCHED).toLowerCase(),
    who: identifiers.map(([key, value]) => `${key} ${asText(value)}`).join("\n").toLowerCase(),
  };
}

function named(value) {
  return value === undefined || value === null ? "" : asText(value);
}

function tally(map, key, by) {
  const left = (map.get(key) || 0) + by;
  if (left > 0) map.set(key, left);
  else map.delete(key);
}

function account(item, by) {
  if (item.bare) return;
  for (const check of new Set(item.warnings.map((warning) => warning.check))) tally(store.checks, check, by);
  tally(store.types, item.type, by);
  tally(store.actions, item.action, by);
}

// Adds *items*; returns how many of them match the filters.
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
  Object.assign(store, {items: [], view: []});
  for (const map of [store.types, store.actions, store.checks, store.seconds]) map.clear();
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

// The idempotence id of an item's event as text, or null.
function idOf(item) {
  const id = isObject(item.event.data) ? item.event.data.idempotence_id : null;
  return id === null || id === undefined || id === "" || typeof id === "object" ? null : String(id);
}

// The items with the idempotence id of *item*, oldest first.
function sameId(item) {
  const id = idOf(item);
  return id === null ? [] : store.items.filter((each) => !each.bare && each.status !== "rejected" && idOf(each) === id);
}

function findItem(serial) {
  const i = indexIn(store.items, serial);
  return i < 0 ? null : store.items[i];
}

// The index of the item with *serial* in a list that is ordered by serial, or -1.
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
