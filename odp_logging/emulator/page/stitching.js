"use strict";
// Customers: events joined by shared identifiers, in whatever order they arrive.

// Union-find over identifiers: an event joins all identifiers that it has.
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

  // Shown only if both profiles had events before *item* joined them.
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
  return {found, stitching};
}
