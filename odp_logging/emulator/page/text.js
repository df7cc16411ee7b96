"use strict";
// Formats values for display. Values of events become text nodes: nothing on this page
// turns them into markup.

const $ = (id) => document.getElementById(id);

// Characters that reverse, hide or join the text beside them. Joiners are kept: Persian
// and emoji need them.
const UNSEEN_ONE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164\uffa0\ufffe\uffff]/u;
const UNSEEN = new RegExp(UNSEEN_ONE.source, "gu");
const SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"};

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function button(label, act, className) {
  const made = element("button", className, label);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function escaped(character) {
  if (SHORT[character]) return SHORT[character];
  let made = "";
  for (let i = 0; i < character.length; i += 1)
    made += `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
  return made;
}

function plain(text) {
  return text.replace(UNSEEN, escaped);
}

// Returns *text* with invisible characters as escapes, which are styled differently.
function visible(text) {
  if (!UNSEEN_ONE.test(text)) return text;
  const made = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(UNSEEN)) {
    made.append(text.slice(end, found.index), element("span", "escape", escaped(found[0])));
    end = found.index + found[0].length;
  }
  made.append(text.slice(end));
  return made;
}

function clipped(text, limit = 120) {
  if (text.length <= limit) return text;
  // Do not split a surrogate pair.
  const end = /[\ud800-\udbff]/.test(text[limit - 2]) ? limit - 2 : limit - 1;
  return text.slice(0, end) + "…";
}

function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function brief(value, limit) {
  return visible(clipped(asText(value), limit));
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function count(number) {
  return number.toLocaleString("en");
}

function several(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

const two = (number) => String(number).padStart(2, "0");

function clock(seconds) {
  const at = new Date(seconds * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
    + `.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

function moment(seconds) {
  const at = new Date(seconds * 1000);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString();
}

function span(seconds) {
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? "−" : "";
  if (size < 0.9995) return `${sign}${Math.round(size * 1000)} ms`;
  if (size < 59.95) return `${sign}${size.toFixed(1)} s`;
  if (size < 5400) return `${sign}${Math.round(size / 60)} min`;
  if (size < 172800) return `${sign}${Math.round(size / 3600)} h`;
  if (size < 63e6) return `${sign}${Math.round(size / 86400)} d`;
  if (size < 1e11) return `${sign}${Math.round(size / 31557600)} y`;
  return `${sign}∞`;
}

// The time in seconds as ODP reads it, or null.
function readTime(value) {
  if (typeof value === "number") return value;
  if (typeof value !== "string") return null;
  const read = /^-?\d+(\.\d*)?$/.test(value) ? Number(value)
    : Date.parse(/^\d{4}-\d\d-\d\dT[\d:.]+$/.test(value) ? `${value}Z` : value) / 1000;
  return Number.isFinite(read) ? read : null;
}

async function copy(text, from) {
  try {
    await navigator.clipboard.writeText(text);
    from.textContent = "Copied";
  } catch {
    from.textContent = "Not allowed";
  }
  setTimeout(() => { from.textContent = from.dataset.label; }, 1200);
}

function copyButton(label, text) {
  const made = button(label, () => copy(text(), made));
  made.dataset.label = label;
  return made;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// The access token, from this page's address.
const token = new URLSearchParams(location.search).get("token") || "";

function ask(path, options = {}) {
  const headers = {...options.headers, ...(token ? {authorization: `Bearer ${token}`} : {})};
  return fetch(path, {...options, headers});
}

function curl(path, body, headers = []) {
  const own = token && path.startsWith("/_emulator/") ? [`authorization: Bearer ${token}`] : [];
  const lines = [`curl ${location.origin}${path}`,
    ...["content-type: application/json", ...own, ...headers].map((line) => `-H ${line.includes("$") ? `"${line}"` : quoted(line)}`),
    `-d ${quoted(body)}`];
  return lines.join(" \\\n  ");
}
