"use strict";
// What is asked to go wrong: switches, a form for anything else, and the banner.

const PRESETS = [
  ["ODP is down", {status: 503, seconds: 5}, "503 to everything for 5 seconds"],
  ["Too many requests", {status: 429, retry_after: "2", count: 3}, "three requests are told to wait 2 seconds"],
  ["Wrong key", {status: 403}, "403 until it is switched off"],
  ["Slow", {latency: 2}, "each answer is held back for 2 seconds"],
  ["Every second request fails", {status: 500, rate: 0.5}, "500 to half of them, at random"],
  ["Connection dropped", {drop: "before", count: 3}, "three requests end without having been read"],
  ["Answer lost", {drop: "after", count: 1}, "one batch is taken and its answer lost: it comes again, as duplicates"],
  ["First event rejected", {events: [0], count: 1}, "one batch is answered 400, which names its first event"],
  ["Too large", {max_events: 10}, "413 to more than 10 events at once"],
  ["Captive portal", {status: 200, keep: false, body: "<html>Please log in</html>", content_type: "text/html", count: 3},
    "three requests get a log-in page for an answer"],
];

const FIELDS = [
  ["status", "number", "503", "what is answered"],
  ["rate", "number", "1", "share of requests, 0 to 1"],
  ["count", "number", "", "how often"],
  ["seconds", "number", "", "for how long"],
  ["latency", "number", "", "seconds that the answer is held back"],
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

let faultsNow = [];

async function listFaults() {
  faultsNow = await (await fetch("/_emulator/faults")).json();
  drawFaults();
}

async function addFault(fault) {
  const reply = await fetch("/_emulator/faults", {
    method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(fault),
  });
  const answer = await reply.json();
  $("fault-error").textContent = reply.ok ? "" : plain(String((answer.detail || {}).message || reply.status));
  await listFaults();
}

async function removeFault(fault) {
  await fetch(`/_emulator/faults${fault ? `?id=${fault.id}` : ""}`, {method: "DELETE"});
  await listFaults();
}

function fieldsOf({id, fired, ...fields}) {
  return fields;
}

function sayFault(fault) {
  return Object.entries(fieldsOf(fault)).map(([key, value]) => `${key} ${clipped(asText(value), 60)}`).join(", ");
}

function sayFired({fired, count: limit}) {
  return limit ? `fired ${count(fired)} of ${count(limit)}` : `fired ${count(fired)}`;
}

function drawFaults() {
  const number = faultsNow.length;
  $("banner").hidden = number === 0;
  $("fault-count").textContent = `${several(number, "fault")} on`;
  $("fault-list").replaceChildren(...faultsNow.slice(0, 3).map((fault) =>
    element("span", "", visible(`${sayFault(fault)} (${sayFired(fault)})`))),
  ...(number > 3 ? [element("span", "", `and ${count(number - 3)} more`)] : []));
  $("faults-on").hidden = number === 0;
  $("faults-on").textContent = count(number);
  for (const one of $("presets").children) drawSwitch(one);
  $("faults").replaceChildren(...(number ? faultsNow.map(faultLine) : [element("li", "dim", "None. Everything is answered as ODP would.")]));
}

function faultLine(fault) {
  return element("li", "", element("code", "", visible(sayFault(fault))), element("span", "dim", sayFired(fault)),
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
    element("code", "", JSON.stringify(fault)));
  return made;
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

// The fault in the form; what is no number is sent as it is, for the emulator to say.
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
  $("clear-faults").addEventListener("click", () => removeFault(null));
  sayCurl();
}
