"use strict";
// Faults: presets, a form for any other, and the banner.

const PRESETS = [
  ["ODP is down", {status: 503, seconds: 5}, "503 to everything for 5 seconds"],
  ["Too many requests", {status: 429, retry_after: "2", count: 3}, "429 to three requests, with Retry-After: 2"],
  ["Wrong key", {status: 403}, "403 to every request until it is switched off"],
  ["Slow", {latency: 2}, "each answer is delayed for 2 seconds"],
  ["Every second request fails", {status: 500, rate: 0.5}, "500 to half of the requests, at random"],
  ["Connection dropped", {drop: "before", count: 3}, "three connections are reset, and their events are not recorded"],
  ["Answer lost", {drop: "after", count: 1}, "one batch is recorded and its answer lost: it is sent again, as duplicates"],
  ["First event rejected", {events: [0], count: 1}, "400 to one batch; the answer names its first event"],
  ["Too large", {max_events: 10}, "413 to a batch of more than 10 events"],
  ["Captive portal", {status: 200, keep: false, body: "<html>Please log in</html>", content_type: "text/html", count: 3},
    "three requests get a log-in page for an answer"],
];

const FIELDS = [
  ["status", "number", "503", "status of the answer"],
  ["rate", "number", "1", "share of requests, 0 to 1"],
  ["count", "number", "", "how often"],
  ["seconds", "number", "", "for how long"],
  ["latency", "number", "", "seconds before the answer"],
  ["retry_after", "text", "", "seconds or a date"],
  ["drop", ["", "before", "after"], "", "the connection, before or after the events are taken"],
  ["match", "text", "", "only events that contain this text"],
  ["events", "list", "", "only events at these indexes, such as 0, 2"],
  ["opaque", ["", "true"], "", "do not say which events"],
  ["keep", ["", "true", "false"], "", "take the events all the same"],
  ["max_events", "number", "", "413 to more than so many"],
  ["max_bytes", "number", "", "413 to more than so many"],
  ["body", "text", "", "of the answer"],
  ["content_type", "text", "", "of the answer"],
  ["location", "text", "", "where a 3xx leads"],
];

const NARROW_WINDOW = matchMedia("(max-width: 760px)");

let faultsNow = [];

async function listFaults() {
  const listed = await (await ask("/_emulator/faults")).json();
  const now = performance.now();
  faultsNow = listed.map((fault) => ({...fault, ...(fault.seconds_left === undefined ? {} : {until: now + 1000 * fault.seconds_left})}));
  drawFaults();
}

async function addFault(fault) {
  const reply = await ask("/_emulator/faults", {
    method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(fault),
  });
  const answer = await reply.json();
  $("fault-error").textContent = reply.ok ? "" : plain(String((answer.detail || {}).message || reply.status));
  await listFaults();
}

async function removeFault(fault) {
  await ask(`/_emulator/faults${fault ? `?id=${fault.id}` : ""}`, {method: "DELETE"});
  await listFaults();
}

function fieldsOf({id, fired, seconds_left: left, until, ...fields}) {
  return fields;
}

function drawFaults() {
  const number = faultsNow.length;
  const most = NARROW_WINDOW.matches ? 1 : 2;
  $("banner").hidden = number === 0;
  $("fault-count").textContent = number ? `${several(number, "fault")} on` : "";
  $("fault-list").replaceChildren(...faultsNow.slice(0, most).map((fault) =>
    element("span", "", visible(sayFault(fault)), " ", progressOf(fault))),
  ...(number > most ? [button(`and ${count(number - most)} more`, () => showView("faults"), "plain")] : []));
  $("faults-on").hidden = number === 0;
  $("faults-on").textContent = count(number);
  for (const one of $("presets").children) drawSwitch(one);
  $("faults").replaceChildren(...(number ? faultsNow.map(faultLine) : [element("li", "dim", "None. Every request is answered as by ODP.")]));
}

// A text that `countDown` keeps up to date.
function progressOf(fault) {
  const made = element("span", "dim progress", sayProgress(fault, performance.now()));
  made.fault = fault;
  return made;
}

function countDown() {
  const now = performance.now();
  for (const each of document.querySelectorAll(".progress")) {
    const text = sayProgress(each.fault, now);
    if (each.textContent !== text) each.textContent = text;
  }
}

function faultLine(fault) {
  return element("li", "", element("span", "text", visible(sayFault(fault))), progressOf(fault),
    button("Switch off", () => removeFault(fault), "plain"));
}

function isSame(one, other) {
  const write = (value) => JSON.stringify(Object.entries(value).sort());
  return write(one) === write(other);
}

function setBy(preset) {
  return faultsNow.find((fault) => isSame(fieldsOf(fault), preset));
}

function makeSwitch([title, fault, about]) {
  const made = button("", async () => {
    const known = setBy(fault);
    await (known ? removeFault(known) : addFault(fault));
  }, "switch");
  made.setAttribute("role", "switch");
  made.preset = fault;
  made.append(element("span", "knob"), element("span", "", element("strong", "", title), element("span", "about", about)),
    element("code", "", sayJson(fault)));
  return made;
}

// With spaces, at which a narrow card breaks the line.
function sayJson(fault) {
  return `{${Object.entries(fault).map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`).join(", ")}}`;
}

function drawSwitch(one) {
  one.setAttribute("aria-checked", String(Boolean(setBy(one.preset))));
}

function makeField([key, kind, value, about]) {
  const input = Array.isArray(kind) ? element("select") : element("input");
  if (Array.isArray(kind)) input.append(...kind.map((each) => element("option", "", each)));
  else if (kind === "number") input.inputMode = "decimal";
  input.name = key;
  input.value = value;
  input.addEventListener("input", sayCurl);
  return element("label", "", element("code", "", key), input, element("span", "about", about));
}

// The fault in the form. A text that is not a number is sent as it is; the emulator rejects it.
function readForm() {
  const fault = {};
  for (const [key, kind] of FIELDS) {
    const text = $("fault-form").elements[key].value.trim();
    if (text !== "") fault[key] = readField(kind, text);
  }
  return fault;
}

function readField(kind, text) {
  const number = (part) => (Number.isNaN(Number(part)) ? part : Number(part));
  if (kind === "number") return number(text);
  if (kind === "list") return text.split(",").map((part) => number(part.trim()));
  return text === "true" || text === "false" ? text === "true" : text;
}

function sayCurl() {
  $("fault-curl").textContent = curl("/_emulator/faults", JSON.stringify(readForm()));
}

function makeFaults() {
  $("presets").append(...PRESETS.map(makeSwitch));
  $("fault-form").append(...FIELDS.map(makeField));
  $("fault-form").addEventListener("submit", (event) => {
    event.preventDefault();
    addFault(readForm());
  });
  NARROW_WINDOW.addEventListener("change", drawFaults);
  $("clear-faults").addEventListener("click", () => removeFault(null));
  sayCurl();
}
