"use strict";
// Formats a value as JSON: numbers exactly as sent, long texts and events clipped until
// a button is pressed.

// More than the 1,024 characters of a text field of ODP.
const MAX_STRING = 1200;
const MAX_PIECES = 4000;
const CHUNK = 4000;
// Reading numbers exactly takes ten times as long.
const MAX_EXACT = 500000;

class Exact {
  constructor(source) {
    this.source = source;
  }
}

function keepExact(key, value, context) {
  if (typeof value !== "number" || !context || context.source === undefined) return value;
  return String(value) === context.source ? value : new Exact(context.source);
}

function parseExactly(text) {
  return text.length > MAX_EXACT ? JSON.parse(text) : JSON.parse(text, keepExact);
}

function writeExactly(value, indent = 2) {
  return JSON.stringify(value, (key, each) => {
    if (!(each instanceof Exact)) return each;
    return JSON.rawJSON ? JSON.rawJSON(each.source) : Number(each.source);
  }, indent);
}

// A browser takes a quarter of a minute to lay out a word of two million letters; of
// chunks, it lays out only those in view.
function inChunks(text) {
  const made = [];
  for (let at = 0; at < text.length;) {
    const line = text.lastIndexOf("\n", at + CHUNK);
    const end = line > at ? line + 1 : at + CHUNK;
    made.push(element("span", "chunk", text.slice(at, end)));
    at = end;
  }
  return made;
}

class JsonPrinter {
  constructor() {
    this.into = element("pre", "json");
    this.into.tabIndex = 0;
    this.left = MAX_PIECES;
  }

  print(value) {
    this.value(value, 0);
    if (this.left <= 0) this.into.append("\n", this.rest(value));
    return this.into;
  }

  value(value, depth) {
    if (this.left <= 0) return;
    this.left -= 1;
    if (value instanceof Exact) this.piece("number", value.source);
    else if (typeof value === "string") this.string(value);
    else if (Array.isArray(value)) this.group("[", "]", value.map((each) => [null, each]), depth);
    else if (isObject(value)) this.group("{", "}", Object.entries(value), depth);
    else this.piece(value === null ? "null" : typeof value, String(value));
  }

  group(open, close, members, depth) {
    this.into.append(open);
    members.forEach(([name, value], i) => {
      if (this.left <= 0) return;
      this.into.append(`${i ? "," : ""}\n${this.indent(depth + 1)}`);
      if (name !== null) this.into.append(this.clippable("name", JSON.stringify(name)), ": ");
      this.value(value, depth + 1);
    });
    if (this.left > 0) this.into.append(members.length ? `\n${this.indent(depth)}` : "", close);
  }

  indent(depth) {
    return "  ".repeat(Math.min(depth, 24));
  }

  string(value) {
    this.into.append(this.clippable("string", JSON.stringify(value)));
  }

  piece(kind, text) {
    this.into.append(element("span", kind, text));
  }

  // A text that is clipped until its button is pressed.
  clippable(kind, text) {
    if (text.length <= MAX_STRING) return element("span", kind, visible(text));
    const made = element("span", kind, visible(clipped(text, MAX_STRING)));
    made.append(button(`show all ${count(text.length - 2)} characters`,
      () => made.replaceChildren(...inChunks(plain(text))), "more"));
    return made;
  }

  rest(value) {
    return button("show the rest of this event", () => {
      const text = writeExactly(value).split("\n").map(plain).join("\n");
      this.into.replaceChildren(...inChunks(text));
    }, "more");
  }
}

function printJson(value) {
  return new JsonPrinter().print(value);
}
