"use strict";
// The live stream: what it brings, pause, and the counters.

const RETRY = 2000;
const SUMMARY_INTERVAL = 3000;

let source = null;
let stats = null;
let clearings = null;           // of the ledger, as far as this page has followed
let newest = 0;                 // the serials that came last
let newestRequest = 0;
let paused = false;
let held = [];                  // what came during a pause
let heldCount = 0;
let active = true;              // the inspector
let stopAt = null;              // a refresh of a deactivated inspector ends there
let summarised = 0;

function take(item) {
  if (!paused) {
    pending.push(item);
    return drawSoon();
  }
  held.push(item);
  heldCount += 1;
  if (held.length > store.limit) held.splice(0, held.length - store.limit);
  labelPause();
}

function takeEntry(raw) {
  const item = readEntry(raw);
  if (item.n <= newest) return;
  newest = item.n;
  countSecond(item.time);
  take(item);
}

function takeRequest(raw) {
  const item = readRequest(raw);
  if (item.n <= newestRequest) return;
  newestRequest = item.n;
  take(item);
}

function labelPause() {
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = !paused ? "Pause" : `Resume (${count(heldCount)} hidden)`;
}

function setPaused(value) {
  paused = value;
  if (!paused) letGo();
  labelPause();
}

function letGo() {
  pending = pending.concat(held);
  held = [];
  heldCount = 0;
  drawSoon();
}

function emptyPage() {
  pending = [];
  held = [];
  heldCount = 0;
  emptyStore();
  for (const rows of [events, profileRows]) {
    rows.current = null;
    rows.opened = null;
  }
  closeDetail();
  labelPause();
  drawEvents();
}

// Once what was pending is in the list.
function afterItems() {
  offerSoon();
  $("check-count").hidden = store.warned === 0;
  $("check-count").textContent = count(store.warned);
}

function countStats(next) {
  const restarted = stats !== null && stats.started !== next.started;
  // Not told to a page that was not connected at that moment.
  const missed = clearings !== null && clearings !== next.clearings;
  clearings = next.clearings;
  const faultsChanged = stats === null || restarted || stats.faults_active !== next.faults_active
    || stats.faults_fired !== next.faults_fired;
  stats = next;
  for (const each of ["received", "unique", "duplicates", "rejected", "requests"]) {
    $(each).textContent = count(next[each]);
    $(each).classList.toggle("some", next[each] > 0);
  }
  document.title = `${count(next.received)} events · ODP emulator`;
  summarise();
  sayExamples();
  if (faultsChanged) listFaults();
  if (restarted || missed) refresh();
}

// For who listens: now and then, not at each event.
function summarise() {
  const now = performance.now();
  if (summarised && now - summarised < SUMMARY_INTERVAL) return;
  summarised = now;
  $("summary").textContent = `${several(stats.received, "event")} received, ${several(stats.duplicates, "duplicate")}, ${count(stats.rejected)} rejected`;
}

function tick() {
  const rates = lastMinute(Date.now() / 1000);
  $("rate").textContent = count(rates[58]);
  const top = Math.max(1, ...rates);
  const line = rates.map((rate, i) => `${i ? "L" : "M"}${(i * 180 / 59).toFixed(1)} ${(28 - 25 * rate / top).toFixed(1)}`).join("");
  const [area, stroke] = $("spark").querySelectorAll("path");
  stroke.setAttribute("d", line);
  area.setAttribute("d", `${line}L180 30L0 30Z`);
  $("spark").setAttribute("aria-label", `Events per second in the last 60 seconds, ${count(Math.max(...rates))} at most`);
  if (stats) summarise();
}

function sayLink(text, state) {
  if ($("link").textContent !== text) $("link").textContent = text;
  $("link").dataset.state = state;
}

function closeStream() {
  if (source) source.close();
  source = null;
}

async function connect() {
  closeStream();
  const wanted = {};
  connect.wanted = wanted;
  let since = newest;
  try {
    const now = await (await fetch("/_emulator/stats")).json();
    since = Math.max(newest, now.last - store.limit);
    // Of an emptied ledger nothing will come.
    if (!active) stopAt = now.received + now.rejected > 0 ? now.last : 0;
  } catch {
    since = newest;             // not there: the stream tries again by itself
  }
  // Another call may have gone ahead while this one waited.
  if (connect.wanted === wanted) listen(since);
}

function listen(since) {
  const made = new EventSource(`/_emulator/stream?since=${since}&requests=${newestRequest}`);
  const on = (kind, act) => made.addEventListener(kind, (message) => {
    if (source === made) act(message.data);
  });
  source = made;
  made.onopen = () => { if (active) sayLink("live", "live"); };
  made.onerror = () => lost(made);
  on("entry", takeEntry);
  on("request", takeRequest);
  on("clear", (data) => {
    clearings = JSON.parse(data).clearings;
    emptyPage();
  });
  on("stats", (data) => {
    countStats(JSON.parse(data));
    if (!active && newest >= stopAt) closeStream();
  });
}

function lost(made) {
  if (source !== made) return;
  sayLink("not connected, trying again", "lost");
  if (made.readyState === EventSource.CLOSED) setTimeout(() => { if (source === made) connect(); }, RETRY);
}

function refresh() {
  newest = 0;
  newestRequest = 0;
  emptyPage();
  connect();
}

function setActive(value) {
  active = value;
  $("inspector").textContent = active ? "Deactivate inspector" : "Start inspector";
  $("inspector").classList.toggle("main", !active);
  if (active) {
    connect();
  } else {
    closeStream();
    sayLink("inspector is off", "off");
  }
}
