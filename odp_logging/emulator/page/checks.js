"use strict";
// What ODP would swallow without a word, by check and by field.

const MAX_FIELDS = 100;

let checks = {};                // by name, in order: level, title, about

async function loadChecks() {
  checks = await (await fetch("/_emulator/checks")).json();
}

// By check and field: how many events, and the latest of them.
function gather(items) {
  const found = new Map();
  for (const item of items) {
    for (const warning of item.warnings) {
      if (!found.has(warning.check)) found.set(warning.check, new Map());
      const fields = found.get(warning.check);
      const known = fields.get(warning.field) || {number: 0};
      fields.set(warning.field, {number: known.number + 1, item, text: warning.text});
    }
  }
  return found;
}

function drawChecks() {
  const found = gather(store.items);
  const [warned, noted, quiet] = [[], [], []];
  for (const [check, known] of Object.entries(checks)) {
    if (!found.has(check)) quiet.push(known);
    else (known.level === "warning" ? warned : noted).push(sheetOf(check, known, found.get(check)));
  }
  $("checks").replaceChildren(
    element("h2", "", "What ODP would not tell you"),
    element("p", "about", "These events were accepted, and ODP would accept them as well. It would not store them as they were meant."),
    ...(warned.length || noted.length ? [...warned, ...noted] : [allWell()]),
    element("h2", "", "Nothing found"), quietList(quiet));
}

function allWell() {
  return element("p", "well", icon("accepted"), store.items.length
    ? "None of the events here has any of it." : "No events yet.");
}

function quietList(quiet) {
  const list = element("ul", "quiet-list");
  for (const known of quiet) list.append(element("li", "", icon("accepted"), element("span", "", known.title)));
  return list;
}

function sheetOf(check, known, fields) {
  const total = [...fields.values()].reduce((sum, each) => sum + each.number, 0);
  const sorted = [...fields].sort((a, b) => b[1].number - a[1].number);
  const list = element("ul", "fields");
  for (const [field, each] of sorted.slice(0, MAX_FIELDS)) list.append(fieldLine(check, known, field, each));
  if (sorted.length > MAX_FIELDS) list.append(element("li", "dim", `${count(sorted.length - MAX_FIELDS)} more fields`));
  const title = element("h3", "", icon(known.level), known.title, " ", element("span", "count", count(total)));
  return element("article", `check ${known.level}`, title, element("p", "about", known.about), list);
}

function fieldLine(check, known, field, {number, item, text}) {
  const all = button(several(number, "event"),
    () => filterByCheck(check, field, `${known.title}: ${field}`), "plain number");
  all.title = "Show these events";
  return element("li", "", element("code", "", visible(field)), element("span", "dim", text),
    all, button("latest", () => showEvent(item), "plain"));
}
