"use strict";
// The live stream: its messages, the pause, and the counters.

const RETRY = 2000;
const SUMMARY_INTERVAL = 3000;

let source = null;
let stats = null;
let clearings = null;           // the ledger's number of clearings that this page knows
let newest = 0;                 // the latest serials
let newestRequest = 0;
let paused = false;
let held = [];                  // messages that came during a pause
let heldCount = 0;
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
  $("pause").textContent = !paused ? "Pause" : heldCount ? `Resume (${count(heldCount)} new)` : "Resume";
}

function setPaused(value) {
  paused = value;
  if (!paused) letGo();
  labelPause();
  if (source && source.readyState === EventSource.OPEN) sayOpen();
}

function sayOpen() {
  sayLink(paused ? "paused" : "live", paused ? "off" : "live");
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
  writeAddressSoon();
  labelPause();
  drawEvents();
}

// Runs after pending items are in the list.
function afterItems() {
  offerSoon();
  labelChecks();
  openWanted();
}

function countStats(next) {
  const restarted = stats !== null && stats.started !== next.started;
  // The message is not sent to a page that is not connected at that moment.
  const missed = clearings !== null && clearings !== next.clearings;
  clearings = next.clearings;
  const faultsChanged = stats === null || restarted || stats.faults_active !== next.faults_active
    || stats.faults_fired !== next.faults_fired;
  stats = next;
  for (const each of ["received", "unique", "duplicates", "rejected", "refused", "requests"]) {
    $(each).textContent = count(next[each]);
    $(each).classList.toggle("some", next[each] > 0);
  }
  document.title = `${count(next.received)} events · ODP emulator`;
  summarise();
  sayExamples();
  if (faultsChanged) listFaults();
  if (restarted || missed) refresh();
}

// For screen readers: at intervals, not for each event.
function summarise() {
  const now = performance.now();
  if (summarised && now - summarised < SUMMARY_INTERVAL) return;
  summarised = now;
  $("summary").textContent = `${several(stats.received, "event")} received, ${several(stats.duplicates, "duplicate")}, ${count(stats.rejected)} rejected, ${several(stats.refused, "request")} refused`;
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
  countDown();
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
    const reply = await ask("/_emulator/stats");
    if (reply.status === 403) return sayLink("no access: open the address that the emulator printed", "lost");
    const now = await reply.json();
    since = Math.max(newest, now.last - store.limit);
  } catch {
    since = newest;             // no answer: the stream reconnects by itself
  }
  // Another call may have been made while this one waited.
  if (connect.wanted === wanted) listen(since);
}

function listen(since) {
  const made = new EventSource(`/_emulator/stream?since=${since}&requests=${newestRequest}&token=${encodeURIComponent(token)}`);
  const on = (kind, act) => made.addEventListener(kind, (message) => {
    if (source === made) act(message.data);
  });
  source = made;
  made.onopen = sayOpen;
  made.onerror = () => lost(made);
  on("entry", takeEntry);
  on("request", takeRequest);
  on("library", (data) => takeLibrary(JSON.parse(data)));
  on("clear", (data) => {
    clearings = JSON.parse(data).clearings;
    emptyPage();
  });
  on("stats", (data) => countStats(JSON.parse(data)));
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
  takeLibrary(NO_REPORTS);
  connect();
}
