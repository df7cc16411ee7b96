"use strict";
// The filters above the list of events. `filter` holds them, the controls show them.

const filter = {text: "", who: "", type: null, action: null, problems: false, check: null};
const NO_FILTER = {...filter};
const searched = {words: [], who: []};      // the words of the two texts

function words(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function matches(item) {
  if (filter.problems && !isProblem(item)) return false;
  if (filter.type !== null && (item.type !== filter.type || item.bare)) return false;
  if (filter.action !== null && (item.action !== filter.action || item.bare)) return false;
  if (!searched.who.every((word) => item.who.includes(word))) return false;
  if (filter.check && !item.warnings.some((warning) => warning.check === filter.check.check
    && (filter.check.field === null || warning.field === filter.check.field))) return false;
  return searched.words.every((word) => item.text.includes(word));
}

function isProblem(item) {
  return (item.status !== "accepted" && item.status !== "query") || item.warned;
}

function countFilters() {
  return Number(searched.words.length > 0) + Number(searched.who.length > 0) + Number(filter.type !== null)
    + Number(filter.action !== null) + Number(filter.problems) + Number(filter.check !== null);
}

function isFiltered() {
  return countFilters() > 0;
}

// Sets the filters to *next* and shows what matches. The controls follow, but for a text
// field that has the focus.
function setFilter(next) {
  Object.assign(filter, next);
  searched.words = words(filter.text);
  searched.who = words(filter.who);
  for (const [id, text] of [["filter", filter.text], ["filter-who", filter.who]])
    if ($(id).value !== text) $(id).value = text;
  $("problems").checked = filter.problems;
  offerChoices();
  labelFilters();
  applyFilter();
  sayShown();
  events.update();
}

function labelFilters() {
  const {check} = filter;
  const number = countFilters();
  $("filter-check").hidden = check === null;
  if (check) {
    const title = (checks[check.check] || {}).title || check.check;
    const label = check.field === null ? title : `${title}: ${check.field}`;
    $("filter-check").replaceChildren(visible(clipped(label, 60)), " ✕");
  }
  $("reset").hidden = number === 0;
  $("filter-count").hidden = number === 0;
  $("filter-count").textContent = count(number);
}

// A text replaces the entry in the browser's history: Back does not go through its letters.
function textTyped() {
  setFilter({text: $("filter").value, who: $("filter-who").value});
  writeAddress({replace: true});
}

function choiceMade() {
  setFilter({type: chosen($("filter-type")), action: chosen($("filter-action")), problems: $("problems").checked});
  writeAddress();
}

function resetFilter() {
  setFilter(NO_FILTER);
  writeAddress();
}

function filterByWho(key, value) {
  setFilter({...NO_FILTER, who: clipped(`${key} ${asText(value)}`, 400)});
  showView("events");
}

function filterByCheck(check, field) {
  setFilter({...NO_FILTER, check: {check, field}});
  showView("events");
}

// In a narrow window the filters are behind one button.
function unfoldFilters(open) {
  $("filters").classList.toggle("open", open);
  $("filters-button").setAttribute("aria-expanded", String(open));
}

function chosen(select) {
  return select.selectedIndex > 0 ? select.selectedOptions[0].chosenValue : null;
}

// Fills a select with the values seen so far, *was* among them.
function offer(select, title, seen, was) {
  const found = [...seen.entries()].sort((a, b) => b[1] - a[1]).slice(0, MAX_CHOICES);
  if (was !== null && !found.some(([value]) => value === was)) found.push([was, 0]);
  const options = found.map(([value, number]) => {
    const option = element("option", "", `${plain(clipped(value, 60)) || "(none)"}  ${count(number)}`);
    option.chosenValue = value;
    return option;
  });
  select.replaceChildren(element("option", "", title), ...options);
  select.selectedIndex = was === null ? 0 : 1 + found.findIndex(([value]) => value === was);
}

function offerChoices() {
  for (const [id, title, seen, was] of [["filter-type", "All types", store.types, filter.type],
    ["filter-action", "All actions", store.actions, filter.action]]) {
    // A select that has the focus may be open, and is not changed.
    if (document.activeElement !== $(id) || chosen($(id)) !== was) offer($(id), title, seen, was);
  }
}
