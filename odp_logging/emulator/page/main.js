"use strict";
// Views, keys and buttons.

const VIEWS = {events: null, profiles: drawProfiles, checks: drawChecks, library: drawLibrary, faults: listFaults};
const SLOW = 1000;

let viewNow = "events";
let offering = null;

// Shows a view as if its tab was clicked; Back leads to the one before.
function showView(which) {
  openView(which);
  writeAddress();
}

function openView(which) {
  const inside = which !== viewNow && document.querySelector("main").contains(document.activeElement);
  if (which !== viewNow && openNow) withoutHistory(() => openNow.close());
  viewNow = which;
  for (const each of Object.keys(VIEWS)) {
    const tab = $(`tab-${each}`);
    $(`view-${each}`).hidden = each !== which;
    tab.setAttribute("aria-selected", String(each === which));
    tab.tabIndex = each === which ? 0 : -1;
  }
  // The element that had the focus is hidden now.
  if (inside) $(`tab-${which}`).focus();
  if (VIEWS[which]) VIEWS[which]();
  else events.update();
}

function toggleMask() {
  setMasked(!masked);
  redrawValues();
  writeAddress({replace: true});
}

// Draws everything that shows values of identifiers again.
function redrawValues() {
  for (const rows of [events, profileRows]) {
    rows.redraw();
    rows.discardSpare();
  }
  if (openNow && openNow.opened !== null) openNow.open(openNow.opened);
}

// Views that are drawn from all events are updated once a second, not for each event.
function offerSoon() {
  if (offering !== null) return;
  offering = setTimeout(() => {
    offering = null;
    offerChoices();
    if (viewNow === "profiles") drawProfiles();
    if (viewNow === "checks" && !$("checks").contains(document.activeElement)) drawChecks();
  }, store.items.length < 500 ? 100 : SLOW);
}

function stepTab(event) {
  const names = Object.keys(VIEWS);
  const at = names.indexOf(viewNow);
  const to = {ArrowRight: at + 1, ArrowLeft: at + names.length - 1, Home: 0, End: names.length - 1}[event.key];
  if (to === undefined) return;
  showView(names[to % names.length]);
  $(`tab-${viewNow}`).focus();
  event.preventDefault();
}

function isTyping(target) {
  return target instanceof HTMLInputElement && target.type !== "checkbox"
    || target instanceof HTMLSelectElement;
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || $("keys").open) return;
  if (event.key === "Escape") return escapePressed(event);
  if (isTyping(event.target)) return;
  const view = Object.keys(VIEWS)[Number(event.key) - 1];
  if (event.key === "p") setPaused(!paused);
  else if (event.key === "m") toggleMask();
  else if (event.key === "?") $("keys").showModal();
  else if (event.key === "/") focusSearch();
  else if (view) showView(view);
  else return;
  event.preventDefault();
}

function focusSearch() {
  if (viewNow !== "profiles") showView("events");
  unfoldFilters(true);
  const field = $(viewNow === "profiles" ? "profile-search" : "filter");
  field.focus();
  field.select();
}

function escapePressed(event) {
  const {target} = event;
  if (target instanceof HTMLInputElement && target.type === "search") {
    if (!target.value) return leaveSearch();
    target.value = "";
    target.dispatchEvent(new Event("input"));
  } else if (openNow) {
    const {host} = openNow;
    openNow.close();
    host.focus();
  } else {
    return;
  }
  event.preventDefault();
}

function leaveSearch() {
  unfoldFilters(false);
  (viewNow === "profiles" ? profileRows : events).host.focus();
}

function setLimit() {
  const before = store.limit;
  store.limit = Number($("limit").value);
  if (store.limit > before) return reload();
  trim();
  events.update();
  sayShown();
  offerSoon();
}

// A reload shows everything, so it ends a pause.
function reload() {
  setPaused(false);
  refresh();
}

function download() {
  const lines = store.view.filter((item) => item.raw !== null).map((item) => `${masked ? maskedLine(item) : item.raw}\n`);
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(lines, {type: "application/jsonl"}));
  link.download = "odp-events.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function maskedLine(item) {
  const entry = parseExactly(item.raw);
  return writeExactly({...entry, event: shownEvent(entry.event, item.identifiers)}, 0);
}

async function clearAll() {
  await ask("/_emulator/events", {method: "DELETE"});
  if (!source) refresh();       // a stream would send a message
}

const TEST_EVENT = {type: "fullstack", action: "purchased", identifiers: {fs_user_id: "user123"}};

function sayExamples() {
  const key = stats && !stats.any_key ? "THE_KEY" : "test";
  const about = key === "test" ? "any key will do" : "the one given with --key";
  const lines = `export ODP_API_KEY=${key}    # ${about}\nexport ODP_API_HOST=${location.origin}\npython app.py`;
  const sent = curl("/v3/events", JSON.stringify([TEST_EVENT]), [`x-api-key: ${key}`]);
  if ($("example-export").textContent !== lines) $("example-export").textContent = lines;
  if ($("example-curl").textContent !== sent) $("example-curl").textContent = sent;
  $("test-event").hidden = key !== "test";
}

// crypto.randomUUID exists for this machine and for https alone.
function newId() {
  return crypto.randomUUID ? crypto.randomUUID() : `test-${Date.now()}-${Math.random()}`;
}

function sendTestEvent() {
  const data = {ts: Date.now() / 1000, idempotence_id: newId(), data_source: "event-inspector"};
  return fetch("/v3/events", {
    method: "POST", headers: {"content-type": "application/json", "x-api-key": "test"},
    body: JSON.stringify([{...TEST_EVENT, data}]),
  });
}

function wire() {
  for (const id of ["filter", "filter-who"]) $(id).addEventListener("input", textTyped);
  for (const id of ["filter-type", "filter-action", "problems"]) $(id).addEventListener("change", choiceMade);
  for (const id of ["reset", "reset-too"]) $(id).addEventListener("click", resetFilter);
  $("filter-check").addEventListener("click", () => { setFilter({check: null}); writeAddress(); });
  $("filters-button").addEventListener("click", () => unfoldFilters(!$("filters").classList.contains("open")));
  $("profile-search").addEventListener("input", profileSought);
  $("profile-sort").addEventListener("change", profileSorted);
  $("limit").addEventListener("change", setLimit);
  $("pause").addEventListener("click", () => setPaused(!paused));
  $("mask").addEventListener("click", toggleMask);
  $("download").addEventListener("click", download);
  $("clear").addEventListener("click", clearAll);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("keys-close").addEventListener("click", () => $("keys").close());
  $("test-event").addEventListener("click", sendTestEvent);
  $("tabs").addEventListener("keydown", stepTab);
  for (const each of Object.keys(VIEWS)) $(`tab-${each}`).addEventListener("click", () => showView(each));
  for (const each of document.querySelectorAll("[data-copy]")) {
    each.dataset.label = each.textContent;
    each.addEventListener("click", () => copy($(each.dataset.copy).textContent, each));
  }
  document.addEventListener("keydown", pressed);
  window.addEventListener("popstate", readAddress);
}

$("origin").textContent = location.host;
wire();
makeFaults();
sayShown();
sayExamples();
takeLibrary(NO_REPORTS);
readAddress();
setInterval(tick, 1000);
loadChecks();
connect();
