"use strict";
// Values that ODP may drop or change silently, by check and by field.

const MAX_FIELDS = 100;

let checks = {};                // by name, in order: level, title, about

async function loadChecks() {
  checks = await (await ask("/_emulator/checks")).json();
  labelFilters();
  if (viewNow === "checks") drawChecks();
}

// For each check: the number of events, and by field their number and the latest one.
function gather(items) {
  const found = new Map();
  for (const item of items) {
    for (const {check, field, text} of item.warnings) {
      if (!found.has(check)) found.set(check, {number: 0, item: null, fields: new Map()});
      const all = found.get(check);
      // An event may have several fields with one problem.
      if (all.item !== item) all.number += 1;
      all.item = item;
      const known = all.fields.get(field) || {number: 0};
      all.fields.set(field, {number: known.number + (known.item === item ? 0 : 1), item, text});
    }
  }
  return found;
}

// The badge of the tab is the number of cards in the view: checks that found something.
function labelChecks() {
  $("check-count").hidden = store.checks.size === 0;
  $("check-count").textContent = count(store.checks.size);
}

function drawChecks() {
  const found = gather(store.items);
  const cards = {warning: [], note: []};
  const quiet = [];
  for (const [check, known] of Object.entries(checks)) {
    if (found.has(check)) cards[known.level].push(makeCard(check, known, found.get(check)));
    else quiet.push(element("li", "", known.title));
  }
  const any = store.items.some((item) => !item.bare);
  $("no-checks").hidden = any;
  $("checks").hidden = !any;
  $("checks").replaceChildren(
    element("h2", "", "Values that ODP may drop or change silently"),
    element("p", "about", "ODP accepts these events, but may not store all of their values as sent."),
    ...cards.warning, ...cards.note,
    element("h2", "", cards.warning.length + cards.note.length ? "Nothing found by the other checks" : "Nothing found"),
    element("ul", "quiet-list", ...quiet));
}

function makeCard(check, known, {number, fields}) {
  const sorted = [...fields].sort((a, b) => b[1].number - a[1].number);
  const list = element("ul", "fields");
  for (const [field, each] of sorted.slice(0, MAX_FIELDS)) list.append(fieldLine(check, field, each));
  if (sorted.length > MAX_FIELDS) list.append(element("li", "dim", `${count(sorted.length - MAX_FIELDS)} more fields`));
  const title = element("h3", "", icon(known.level), known.title, element("span", "dim", `${known.level}, ${several(number, "event")}`));
  return element("article", `check ${known.level}`, title, element("p", "about", known.about), list);
}

function fieldLine(check, field, {number, item, text}) {
  const all = button(several(number, "event"), () => filterByCheck(check, field), "plain number");
  all.title = "Show these events";
  return element("li", "", element("code", "", visible(field)), element("span", "dim", text),
    all, button("latest", () => showEvent(item), "plain"));
}
