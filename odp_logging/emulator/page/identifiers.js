"use strict";
// Identifiers as chips: the value first, then its name. Also masks values, for a screen
// that others see.

const MAX_CHIPS = 4;
const PREFERRED = ["email", "fs_user_id", "customer_id", "phone", "web_user_id", "vuid"];
const CROWDED = ["snug", "spread", "tight", "wide", "cut"];
const DOTS = "•••";

let masked = false;

// Enough to tell two values apart, too little to use one.
function maskText(text) {
  const letters = [...text];
  const first = letters.length > 3 ? letters[0] : "";
  if (text.indexOf("@") > 0) return `${first}${DOTS}@${DOTS}`;
  return first + DOTS + (letters.length > 8 ? letters[letters.length - 1] : "");
}

function shownValue(value) {
  return masked ? maskText(asText(value)) : asText(value);
}

// Values of an event that are masked wherever they stand in it. Shorter ones are part of
// too many other texts.
function secretsOf(identifiers) {
  return identifiers.map(([, value]) => asText(value)).filter((text) => text.length > 2);
}

function maskSecrets(text, secrets) {
  return secrets.reduce((made, secret) => made.replaceAll(secret, maskText(secret)), text);
}

// Returns a copy of *value*, which has the name *key*, with identifiers masked.
function maskValue(key, value, secrets) {
  if (Array.isArray(value)) return value.map((each) => maskValue(key, each, secrets));
  if (isObject(value) && !(value instanceof Exact)) return maskObject(value, secrets);
  if (value === null || typeof value === "boolean") return value;
  const text = value instanceof Exact ? value.source : asText(value);
  if (PREFERRED.includes(key) || secrets.includes(text)) return maskText(text);
  return typeof value === "string" ? maskSecrets(value, secrets) : value;
}

function maskObject(object, secrets) {
  const made = Object.entries(object).map(([key, value]) => [maskSecrets(key, secrets), maskValue(key, value, secrets)]);
  return Object.fromEntries(made);
}

// Returns *event* as it may be shown: a masked copy, or itself.
function shownEvent(event, identifiers) {
  if (!masked || !isObject(event)) return event;
  const secrets = secretsOf(identifiers);
  const made = maskObject(event, secrets);
  if (isObject(event.identifiers)) {
    const pairs = Object.entries(event.identifiers).map(([key, value]) => [key, maskText(value instanceof Exact ? value.source : asText(value))]);
    made.identifiers = Object.fromEntries(pairs);
  }
  return made;
}

// *number* is how many values of this name there are.
function chip(key, value, number = 1) {
  const text = shownValue(value);
  const made = element("bdi", "chip", element("bdi", "value", brief(text, 200)), " ", element("bdi", "name", brief(key, 40)));
  if (number > 1) made.append(element("span", "times", `×${count(number)}`));
  if (text.length > 20) made.classList.add("long");
  if (text.includes("@")) made.classList.add("mail");
  made.title = `${plain(clipped(text, 400))}\n${plain(clipped(key, 80))}${number > 1 ? `, the latest of ${count(number)}` : ""}`;
  return made;
}

function chips(identifiers) {
  const made = identifiers.slice(0, MAX_CHIPS).map(([key, value]) => chip(key, value));
  if (identifiers.length > MAX_CHIPS)
    made.push(element("span", "dim", `+${count(identifiers.length - MAX_CHIPS)}`));
  return made;
}

// Makes room for the chips of *rows*, whose cell at *index* holds them. The names of mail
// addresses give way first, then a part of the cell beside them, all names, and most of
// that cell; only then are values cut. Each step reads the layout once for all rows.
function fitChips(rows, index) {
  let crowded = rows;
  for (const row of rows) row.classList.remove(...CROWDED);
  for (const step of CROWDED) {
    crowded = crowded.filter((row) => row.children[index].scrollWidth > row.children[index].clientWidth);
    if (!crowded.length) return;
    for (const row of crowded) row.classList.add(step);
  }
}

function setMasked(value) {
  masked = value;
  $("mask").setAttribute("aria-pressed", String(masked));
  document.body.classList.toggle("masked", masked);
}
