"use strict";
// Customers: events joined by the identifiers they share, however late those meet.

const MAX_LISTED = 100;
const PREFERRED = ["email", "fs_user_id", "customer_id", "phone", "web_user_id", "vuid"];

let profiles = [];              // latest first
let profileRoot = new Map();    // of an identifier, its profile

const profileRows = new Rows($("profiles"), ROW, {
  count: () => profiles.length,
  keyAt: (i) => profiles[i].key,
  indexOf: (key) => profiles.findIndex((profile) => profile.key === key),
  make: () => makeRow(5, 4),
  fill: (row, i) => fillProfile(row, profiles[i]),
  open: (key) => openProfile(profiles.find((profile) => profile.key === key)),
  close: () => closeDetail(),
});

// Union-find over identifiers: each event joins all that it carries.
class Stitching {
  constructor() {
    this.nodes = new Map();
    this.parents = [];
    this.used = [];
    this.joins = [];
  }

  node(key, value) {
    if (!this.nodes.has(key)) this.nodes.set(key, new Map());
    const values = this.nodes.get(key);
    let node = values.get(value);
    if (node === undefined) {
      node = this.parents.length;
      values.set(value, node);
      this.parents.push(node);
      this.used.push(false);
    }
    return node;
  }

  find(node) {
    while (this.parents[node] !== node) {
      this.parents[node] = this.parents[this.parents[node]];
      node = this.parents[node];
    }
    return node;
  }

  // Of two that both had events before, it is worth telling that *item* joined them.
  merge(one, other, item) {
    const [first, second] = one < other ? [one, other] : [other, one];
    this.parents[second] = first;
    if (this.used[one] && this.used[other]) this.joins.push([first, item]);
    this.used[first] = this.used[one] || this.used[other];
    return first;
  }

  join(item) {
    let first = null;
    for (const [key, value] of item.identifiers) {
      const root = this.find(this.node(key, value));
      if (first === null || root === first) first = root;
      else first = this.merge(first, root, item);
    }
    this.used[first] = true;
    return first;
  }
}

function stitch(items) {
  const stitching = new Stitching();
  const joined = items.filter((item) => item.identifiers.length
    && (item.status === "accepted" || item.status === "duplicate"));
  const nodes = joined.map((item) => stitching.join(item));
  const byRoot = new Map();
  joined.forEach((item, i) => {
    const root = stitching.find(nodes[i]);
    if (!byRoot.has(root)) byRoot.set(root, {key: root, items: [], names: new Map(), joins: [], size: 0});
    byRoot.get(root).items.push(item);
  });
  for (const [key, values] of stitching.nodes) {
    for (const [value, node] of values) {
      const profile = byRoot.get(stitching.find(node));
      if (!profile.names.has(key)) profile.names.set(key, []);
      profile.names.get(key).push(value);
      profile.size += 1;
    }
  }
  for (const [node, item] of stitching.joins) byRoot.get(stitching.find(node)).joins.push(item);
  const found = [...byRoot.values()];
  for (const profile of found) profile.last = profile.items[profile.items.length - 1];
  return {found: found.sort((a, b) => b.last.serial - a.last.serial), stitching};
}

function drawProfiles() {
  const {found, stitching} = stitch(store.items);
  profiles = found;
  const byKey = new Map(found.map((profile) => [profile.key, profile]));
  profileRoot = (item) => byKey.get(stitching.find(stitching.node(...item.identifiers[0])));
  $("profile-count").textContent = found.length ? several(found.length, "profile") : "";
  $("no-profiles").hidden = found.length > 0;
  $("profiles").hidden = found.length === 0;
  profileRows.redraw();
}

function nameOf(profile) {
  return ordered(profile)[0][1][0];
}

// Its identifiers by name, those that people know first.
function ordered(profile) {
  const place = (key) => (PREFERRED.includes(key) ? PREFERRED.indexOf(key) : PREFERRED.length);
  return [...profile.names].sort((a, b) => place(a[0]) - place(b[0]));
}

function linked(profile, limit) {
  const made = [];
  for (const [key, values] of ordered(profile)) {
    for (const value of values) {
      if (made.length >= 2 * limit) break;
      if (made.length) made.push(icon("link"));
      made.push(chip(key, value));
    }
  }
  if (profile.size > limit) made.push(element("span", "dim", `+${count(profile.size - limit)}`));
  return made;
}

function fillProfile(row, profile) {
  const [customer, number, last, seen, who] = row.children;
  customer.replaceChildren(element("bdi", "", brief(nameOf(profile))));
  number.className = "number";
  number.textContent = count(profile.items.length);
  last.replaceChildren(element("bdi", "", brief(profile.last.type, 40)), element("span", "dim", " / "),
    element("bdi", "", brief(profile.last.action, 40)));
  seen.textContent = clock(profile.last.time);
  who.replaceChildren(...linked(profile, MAX_CHIPS));
}

function openProfile(profile) {
  if (!profile) return;
  const title = element("h2", "", element("bdi", "", brief(nameOf(profile), 80)));
  const names = ordered(profile).map(([key, values]) => [brief(key, 60), valuesOf(values)]);
  const joins = profile.joins.slice(-20).map((item) => element("li", "", element("span", "by", "joined by"), eventLink(item)));
  openDetail(profileRows, title,
    section(`Identifiers, ${count(profile.size)}${profile.size > 1 ? " stitched" : ""}`, facts(names)),
    joins.length ? section("Two became one", element("ul", "links", ...joins)) : null,
    section(`Events, ${count(profile.items.length)}`, timeline(profile.items)));
}

function valuesOf(values) {
  const made = element("span", "values");
  for (const value of values.slice(0, 20)) made.append(element("bdi", "", brief(value, 200)));
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
  made.append(element("span", "dim", clock(item.time)), icon(item.status),
    element("bdi", "", brief(item.type, 40)), element("span", "dim", "/"), element("bdi", "", brief(item.action, 40)));
  made.setAttribute("aria-label", `${clock(item.time)} ${item.status} ${plain(clipped(item.type, 40))} ${plain(clipped(item.action, 40))}`);
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
  showView("profiles");
  const profile = profileRoot(item);
  if (!profile) return;
  profileRows.show(profiles.indexOf(profile));
  profileRows.open(profile.key);
  profileRows.host.focus();
}
