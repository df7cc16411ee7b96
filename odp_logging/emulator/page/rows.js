"use strict";
// A list of any length: only visible rows are in the document. Rows have one height and a
// key, so a row that stays visible is moved, not created again.

const BEYOND = 8;
const ROW = 30;                 // pixels, as in lists.css
const TALL_ROW = 54;
const NARROW = 620;             // a list of less width has tall rows

class Rows {
  // count(): number of rows; keyAt(i): key of the row at i from the top; indexOf(key);
  // make(): an empty row; fill(row, i); fit(rows): called once for rows that are new or
  // have another width; open(key), close(): actions of Enter and Escape.
  constructor(host, source) {
    this.host = host;
    this.height = ROW;
    this.width = 0;
    this.source = source;
    this.head = host.querySelector(".head");
    this.body = host.querySelector(".body");
    this.rows = new Map();
    this.spare = [];
    this.current = null;
    this.opened = null;
    this.waiting = false;
    host.addEventListener("scroll", () => this.soon(), {passive: true});
    host.addEventListener("keydown", (event) => this.key(event));
    host.addEventListener("click", (event) => this.click(event));
    host.addEventListener("focus", () => this.enter());
    new ResizeObserver(() => this.resize()).observe(host);
  }

  // A narrow list has rows of two lines.
  resize() {
    const width = this.host.clientWidth;
    if (!width) return;
    const narrow = width < NARROW;
    this.host.classList.toggle("narrow", narrow);
    if (this.height !== (narrow ? TALL_ROW : ROW)) {
      const top = this.host.scrollTop / this.height;
      this.height = narrow ? TALL_ROW : ROW;
      for (const row of this.rows.values()) row.at = null;
      this.update();
      this.host.scrollTop = top * this.height;
    }
    if (this.width !== width && this.source.fit) this.source.fit([...this.rows.values()]);
    this.width = width;
    this.soon();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  // *added* rows came in above: the visible rows stay where they are.
  update(added = 0) {
    this.body.style.height = `${this.source.count() * this.height}px`;
    if (added && this.host.scrollTop > 0) this.host.scrollTop += added * this.height;
    this.host.setAttribute("aria-rowcount", String(this.source.count() + 1));
    this.draw();
  }

  // Fill all rows again because their values have changed.
  redraw() {
    for (const row of this.rows.values()) this.drop(row);
    this.rows.clear();
    this.update();
  }

  // Remove rows that are kept for later use, with the values that they showed.
  discardSpare() {
    for (const row of this.spare) row.remove();
    this.spare = [];
  }

  draw() {
    const room = this.host.clientHeight;
    if (!room) return;
    const total = this.source.count();
    const top = Math.floor(this.host.scrollTop / this.height);
    const first = Math.max(0, top - BEYOND);
    const last = Math.min(total, top + Math.ceil(room / this.height) + BEYOND);
    const wanted = new Map();
    for (let i = first; i < last; i += 1) wanted.set(this.source.keyAt(i), i);
    for (const [key, row] of this.rows) {
      if (wanted.has(key)) continue;
      this.rows.delete(key);
      this.drop(row);
    }
    const fresh = [];
    for (const [key, i] of wanted) if (this.place(key, i)) fresh.push(this.rows.get(key));
    if (fresh.length && this.source.fit) this.source.fit(fresh);
    this.point();
  }

  // Returns whether the row had to be filled.
  place(key, i) {
    let row = this.rows.get(key);
    const filled = !row;
    if (filled) {
      row = this.spare.pop() || this.source.make();
      row.id = `${this.host.id}-${key}`;
      row.dataset.key = key;
      this.source.fill(row, i);
      this.rows.set(key, row);
      row.hidden = false;
      if (!row.isConnected) this.body.append(row);
    }
    // Only changed properties: setting one makes the browser lay out the row again.
    if (row.at === i) return filled;
    row.at = i;
    row.style.top = `${i * this.height}px`;
    row.setAttribute("aria-rowindex", String(i + 2));
    return filled;
  }

  drop(row) {
    row.hidden = true;
    row.at = null;
    row.removeAttribute("id");
    row.removeAttribute("data-key");
    this.spare.push(row);
  }

  point() {
    for (const [key, each] of this.rows) this.mark(each, key === this.current, key === this.opened);
    const row = this.rows.get(this.current);
    if (row) this.host.setAttribute("aria-activedescendant", row.id);
    else this.host.removeAttribute("aria-activedescendant");
  }

  mark(row, current, opened) {
    if (row.current !== current) row.classList.toggle("current", current);
    if (row.opened !== opened) row.setAttribute("aria-selected", String(opened));
    Object.assign(row, {current, opened});
  }

  // With the keyboard, the focus must be on a row.
  enter() {
    if (this.current !== null || !this.source.count()) return;
    const top = Math.ceil(this.host.scrollTop / this.height);
    this.current = this.source.keyAt(Math.min(top, this.source.count() - 1));
    this.point();
  }

  go(i) {
    const total = this.source.count();
    if (!total) return;
    const to = Math.max(0, Math.min(total - 1, i));
    this.current = this.source.keyAt(to);
    this.show(to);
    if (this.opened !== null) this.open(this.current);
    this.draw();
  }

  show(i) {
    const head = this.head.offsetHeight;
    const room = this.host.clientHeight - head;
    const at = i * this.height;
    if (at < this.host.scrollTop) this.host.scrollTop = at;
    else if (at + this.height > this.host.scrollTop + room)
      this.host.scrollTop = at + this.height - room;
  }

  open(key) {
    this.current = key;
    this.opened = key;
    this.source.open(key);
    this.draw();
  }

  close() {
    this.opened = null;
    this.source.close();
    this.draw();
  }

  key(event) {
    if (event.target !== this.host || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.current === null ? -1 : this.source.indexOf(this.current);
    const page = Math.max(1, Math.floor(this.host.clientHeight / this.height) - 2);
    const to = {ArrowDown: at + 1, j: at + 1, ArrowUp: Math.max(0, at - 1), k: Math.max(0, at - 1),
      PageDown: at + page, PageUp: Math.max(0, at - page), Home: 0, End: Infinity}[event.key];
    if (to !== undefined) this.go(to);
    else if ((event.key === "Enter" || event.key === " ") && at >= 0) this.open(this.current);
    else if (event.key === "Escape" && this.opened !== null) this.close();
    else return;
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest(".row[data-key]");
    if (!row || String(getSelection())) return;
    const key = Number(row.dataset.key);
    if (key === this.opened) this.close();
    else this.open(key);
  }
}
