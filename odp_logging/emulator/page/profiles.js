"use strict";
// The list of customers, searched and sorted, and the panel of one.

const MAX_LISTED = 100;
const SORTS = {
  seen: (one, other) => other.last.serial - one.last.serial,
  events: (one, other) => other.items.length - one.items.length || SORTS.seen(one, other),
  name: (one, other) => nameOf(one).localeCompare(nameOf(other), "en", {numeric: true}) || SORTS.seen(one, other),
};

const profileOrder = {text: "", sort: "seen"};

let profiles = [];              // those that match the search, in order
let profileRoot = new Map();    // by identifier

const profileRows = new Rows($("profiles"), {
  count: () => profiles.length,
  keyAt: (i) => profiles[i].key,
  indexOf: (key) => profiles.findIndex((profile) => profile.key === key),
  make: () => makeRow(5, 4),
  fill: (row, i) => fillProfile(row, profiles[i]),
  fit: (rows) => fitChips(rows, 4),
  open: (key) => openProfile(profiles.find((profile) => profile.key === key)),
  close: () => closeDetail(),
});

function drawProfiles() {
  const {found, stitching} = stitch(store.items);
  const sought = words(profileOrder.text);
  profiles = found.filter((profile) => isSought(profile, sought)).sort(SORTS[profileOrder.sort]);
  const byKey = new Map(found.map((profile) => [profile.key, profile]));
  profileRoot = (item) => byKey.get(stitching.find(stitching.node(...item.identifiers[0])));
  $("profile-count").textContent = !found.length ? ""
    : profiles.length === found.length ? several(found.length, "profile")
      : `${count(profiles.length)} of ${several(found.length, "profile")}`;
  $("no-profiles").hidden = found.length > 0;
  $("no-profile").hidden = found.length === 0 || profiles.length > 0;
  $("profiles").hidden = profiles.length === 0;
  profileRows.redraw();
}

function isSought(profile, sought) {
  if (!sought.length) return true;
  const text = [...profile.names].flatMap(([key, values]) => values.map((value) => `${key} ${asText(value)}`)).join("\n").toLowerCase();
  return sought.every((word) => text.includes(word));
}

// Sets the search and the sorting, and shows what is found. The controls follow.
function setProfileOrder({text, sort}) {
  Object.assign(profileOrder, {text, sort: Object.hasOwn(SORTS, sort) ? sort : "seen"});
  if ($("profile-search").value !== text) $("profile-search").value = text;
  $("profile-sort").value = profileOrder.sort;
  if (viewNow === "profiles") drawProfiles();
}

function profileSought() {
  setProfileOrder({...profileOrder, text: $("profile-search").value});
  writeAddress({replace: true});
}

function profileSorted() {
  setProfileOrder({...profileOrder, sort: $("profile-sort").value});
  writeAddress();
}

function nameOf(profile) {
  return asText(ordered(profile)[0][1][0]);
}

// Its identifiers by name, the best known first.
function ordered(profile) {
  const place = (key) => (PREFERRED.includes(key) ? PREFERRED.indexOf(key) : PREFERRED.length);
  return [...profile.names].sort((a, b) => place(a[0]) - place(b[0]));
}

// One chip for each kind of identifier, with the latest value.
function linked(profile) {
  const made = [];
  for (const [key, values] of ordered(profile).slice(0, MAX_CHIPS)) {
    if (made.length) made.push(icon("link"));
    made.push(chip(key, values[values.length - 1], values.length));
  }
  if (profile.names.size > MAX_CHIPS) made.push(element("span", "dim", `+${count(profile.names.size - MAX_CHIPS)}`));
  return made;
}

function fillProfile(row, profile) {
  const [customer, number, last, seen, who] = row.children;
  customer.replaceChildren(element("bdi", "", brief(shownValue(nameOf(profile)))));
  number.className = "number";
  number.textContent = count(profile.items.length);
  last.replaceChildren(element("bdi", "", brief(profile.last.type, 40)), element("span", "dim", " / "),
    element("bdi", "", brief(profile.last.action, 40)));
  seen.textContent = clock(profile.last.time);
  who.replaceChildren(...linked(profile));
}

function openProfile(profile) {
  if (!profile) return;
  const title = element("h2", "", element("bdi", "", brief(shownValue(nameOf(profile)), 80)));
  const names = ordered(profile).map(([key, values]) => [brief(key, 60), valuesOf(values)]);
  const joins = profile.joins.slice(-20).map((item) => element("li", "", element("span", "by", "joined by"), eventLink(item)));
  openDetail(profileRows, title,
    section(`Identifiers, ${count(profile.size)}${profile.size > 1 ? " stitched" : ""}`, facts(names)),
    joins.length ? section("Merged", element("ul", "links", ...joins)) : null,
    section(`Events, ${count(profile.items.length)}`, timeline(profile.items)));
}

function valuesOf(values) {
  const made = element("span", "values");
  for (const value of values.slice(0, 20)) made.append(element("bdi", "", brief(shownValue(value), 200)));
  if (values.length > 20) made.append(element("span", "dim", `+${count(values.length - 20)}`));
  return made;
}

function timeline(items) {
  const list = element("ul", "links");
  for (const item of items.slice(-MAX_LISTED).reverse()) list.append(element("li", "", eventLink(item)));
  if (items.length > MAX_LISTED) list.append(element("li", "dim", `the latest ${MAX_LISTED} of ${count(items.length)}`));
  return list;
}

function eventLink(item) {
  const made = button("", () => showEvent(item), "line");
  made.append(element("span", "dim", clock(item.time)), icon(item.status), element("span", "unseen", item.status),
    element("bdi", "", brief(item.type, 40)), element("span", "dim", "/"), element("bdi", "", brief(item.action, 40)));
  return made;
}

function showEvent(item) {
  if (!store.view.includes(item)) resetFilter();
  showView("events");
  const at = events.source.indexOf(item.serial);
  if (at < 0) return;
  events.show(at);
  events.open(item.serial);
  events.host.focus();
}

function showProfileOf(item) {
  setProfileOrder({...profileOrder, text: ""});
  showView("profiles");
  const profile = profileRoot(item);
  if (!profile) return;
  profileRows.show(profiles.indexOf(profile));
  profileRows.open(profile.key);
  profileRows.host.focus();
}
