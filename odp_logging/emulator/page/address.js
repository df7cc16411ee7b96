"use strict";
// The view, its filter and the open event in the page's address, such as
// #events?type=order, so that a reload, Back and a copied address keep them.

// Browsers allow a page about 20 changes of its address in a second.
const ADDRESS_DELAY = 250;

let wanted = null;              // the event or request of the address, until it is here
let following = false;          // while the page follows an address, it does not write one
let writing = null;             // the timer of a write

const PARAMETERS = {
  events: {
    read: (given) => {
      setFilter({
        text: given.get("q") || "", who: given.get("who") || "", type: given.get("type"), action: given.get("action"),
        problems: given.get("problems") === "1",
        check: given.has("check") ? {check: given.get("check"), field: given.get("field")} : null,
      });
      const [name] = ["event", "request"].filter((each) => /^\d{1,15}$/.test(given.get(each) || ""));
      wanted = name ? {bare: name === "request", n: Number(given.get(name))} : null;
    },
    // While values are masked, the texts that were searched for are not shown either.
    write: () => [["q", masked ? "" : filter.text], ["who", masked ? "" : filter.who], ["problems", filter.problems ? "1" : ""],
      ["type", filter.type], ["action", filter.action],
      ["check", filter.check && filter.check.check], ["field", filter.check && filter.check.field], ...nameOpened()],
    // An event may have an empty type.
    blank: new Set(["type", "action"]),
  },
  profiles: {
    read: (given) => setProfileOrder({text: given.get("q") || "", sort: given.get("sort") || "seen"}),
    write: () => [["q", masked ? "" : profileOrder.text], ["sort", profileOrder.sort === "seen" ? "" : profileOrder.sort]],
    blank: new Set(),
  },
};

function nameOpened() {
  const item = wanted || (events.opened === null ? null : findItem(events.opened));
  return item ? [[item.bare ? "request" : "event", String(item.n)]] : [];
}

// Opens what the address names, once it has arrived.
function openWanted() {
  const item = wanted && store.items.find(({n, bare}) => n === wanted.n && bare === wanted.bare);
  if (!item || viewNow !== "events") return;
  const at = events.source.indexOf(item.serial);
  if (at >= 0) events.show(at);
  events.open(item.serial);
}

// Opening is a step for Back; going through a list of events with open details is none.
function eventOpened() {
  wanted = null;
  if (/[?&](event|request)=/.test(location.hash)) writeAddressSoon();
  else writeAddress();
}

function writeAddressSoon() {
  if (writing === null) writing = setTimeout(() => writeAddress({replace: true}), ADDRESS_DELAY);
}

function withoutHistory(act) {
  const was = following;
  following = true;
  try {
    act();
  } finally {
    following = was;
  }
}

function buildAddress() {
  const known = PARAMETERS[viewNow];
  const made = new URLSearchParams();
  for (const [name, value] of known ? known.write() : [])
    if (value !== null && (value !== "" || known.blank.has(name))) made.append(name, value);
  if (masked) made.append("mask", "1");
  const query = made.toString();
  return `#${viewNow}${query ? `?${query}` : ""}`;
}

function writeAddress({replace = false} = {}) {
  if (following) return;
  clearTimeout(writing);
  writing = null;
  const next = buildAddress();
  if (next === location.hash || (next === "#events" && !location.hash)) return;
  if (replace) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
}

function readAddress() {
  const [name, query] = splitOnce(location.hash.slice(1), "?");
  const given = new URLSearchParams(query);
  const view = Object.hasOwn(VIEWS, name) ? name : "events";
  const wasMasked = masked;
  withoutHistory(() => {
    if (openNow) openNow.close();
    setMasked(given.get("mask") === "1");
    if (PARAMETERS[view]) PARAMETERS[view].read(given);
    openView(view);
    if (masked !== wasMasked) redrawValues();
    openWanted();
  });
}

function splitOnce(text, at) {
  const found = text.indexOf(at);
  return found < 0 ? [text, ""] : [text.slice(0, found), text.slice(found + at.length)];
}
