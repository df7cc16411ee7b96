"use strict";
// The side panel: one event with its answer, one refused request, or one profile.

const MAX_COPIES = 5;

let openNow = null;             // the rows it was opened from

function openDetail(rows, title, ...parts) {
  openNow = rows;
  const head = element("div", "detail-head", title, button("Close", () => {
    rows.close();
    rows.host.focus();
  }, "plain close"));
  $("detail").replaceChildren(head, ...parts.filter(Boolean));
  $("detail").hidden = false;
  $("detail").scrollTop = 0;
}

function closeDetail() {
  openNow = null;
  $("detail").hidden = true;
  $("detail").replaceChildren();
}

function section(title, ...content) {
  return element("section", "", element("h3", "", title), ...content);
}

function facts(pairs) {
  const list = element("dl", "facts");
  for (const [key, value] of pairs)
    list.append(element("div", "", element("dt", "", key), element("dd", "", value)));
  return list;
}

function openEvent(item) {
  if (!item) return;
  if (item.bare) return openRequest(item);
  const title = element("h2", "", element("bdi", "", brief(item.type || "(no type)", 60)),
    element("span", "dim", " / "), element("bdi", "", brief(item.action || "(no action)", 60)));
  const exact = shownEvent(parseExactly(item.raw).event, item.identifiers);
  const answer = section("Answer", element("p", "dim", "…"));
  const text = () => writeExactly(exact);
  openDetail(events, title, whatBecame(item), warningsOf(item), whoOf(item),
    section("Event", copyButtons(text), printJson(exact)), answer);
  fillAnswer(item.entry.request, answer);
}

// A masked event cannot be sent again.
function copyButtons(text) {
  const made = element("p", "actions", copyButton(masked ? "Copy masked JSON" : "Copy JSON", text));
  if (!masked) made.append(copyButton("Copy curl", () => curl("/v3/events", `[${text()}]`, ["x-api-key: $ODP_API_KEY"])));
  return made;
}

function whatBecame(item) {
  const age = ageOf(item);
  const pairs = [["Arrived", `${clock(item.time)}, ${moment(item.time)}`]];
  if (age !== null) pairs.push(["Happened", `${moment(readTime(item.event.data.ts)) || "beyond any calendar"}, age ${span(age)}`]);
  pairs.push(["Serial", `event ${count(item.n)} in request ${count(item.entry.request)}`]);
  const copies = sayCopies(item);
  if (copies) pairs.push(copies);
  const outcome = element("p", "outcome", badge(item.status));
  if (item.reason) outcome.append(element("span", toneOf(item), visible(clipped(item.reason, 400))));
  return element("section", "became", outcome, facts(pairs));
}

// The events with the same idempotence id: of a duplicate the first one, of the first one
// its duplicates.
function sayCopies(item) {
  const same = sameId(item);
  if (item.status === "duplicate") {
    const first = same.find((each) => each.status === "accepted");
    return ["Duplicate of", first ? eventButton(first) : "an event that is no longer kept here"];
  }
  const later = same.filter((each) => each.status === "duplicate");
  if (item.status !== "accepted" || !later.length) return null;
  const made = element("span", "values", ...later.slice(-MAX_COPIES).map(eventButton));
  if (later.length > MAX_COPIES) made.prepend(element("span", "dim", `the latest ${MAX_COPIES} of ${count(later.length)}`));
  return ["Received again", made];
}

function eventButton(item) {
  return button(`event ${count(item.n)}, ${clock(item.time)}`, () => showEvent(item), "plain");
}

function warningsOf(item) {
  if (!item.warnings.length) return null;
  const list = element("ul", "warnings");
  const sorted = [...item.warnings].sort((a, b) => b.level.localeCompare(a.level));
  for (const {check, level, field, text} of sorted) {
    const said = element("span", "", element("code", "", visible(field)), ` ${text}`);
    const about = (checks[check] || {}).about || "";
    if (level === "warning") said.append(element("span", "about", about));
    const line = element("li", level, icon(level), said);
    line.title = about;
    list.append(line);
  }
  return section("Warnings", list);
}

function whoOf(item) {
  if (!item.identifiers.length) return null;
  const list = element("div", "who");
  for (const [key, value] of item.identifiers.slice(0, 50)) {
    const one = button("", () => filterByWho(key, value), "chip");
    one.append(element("bdi", "value", brief(shownValue(value), 200)), " ", element("bdi", "name", brief(key, 60)));
    one.title = "Filter by this identifier";
    list.append(one);
  }
  const known = item.status === "accepted" || item.status === "duplicate";
  if (known) list.append(button("Profile", () => showProfileOf(item), "plain"));
  return section("Identifiers", list);
}

// If another item was opened meanwhile, *into* is no longer in the document.
async function fillAnswer(n, into) {
  let found = null;
  try {
    const reply = await ask(`/_emulator/requests?since=${n - 1}&limit=1`);
    [found] = (await reply.json()).filter((line) => line.n === n);
  } catch {
    found = null;
  }
  into.querySelector("p").remove();
  if (!found) into.append(element("p", "dim", "No longer kept: the emulator keeps the latest 1,000 requests."));
  else into.append(...answerOf(found));
}

function answerOf(line) {
  const {answer} = line;
  const status = line.status === 0 ? "none: the connection was dropped" : `${line.status} ${answer.title}`;
  const pairs = [["Status", status + (answer.fault ? ", by a fault" : "")]];
  for (const [key, value] of Object.entries(answer.headers)) pairs.push([key, brief(value, 300)]);
  if (answer.latency) pairs.push(["Delayed", span(answer.latency)]);
  const made = [facts(pairs)];
  if (line.status && answer.body) made.push(bodyOf(answer));
  const request = [["Request", `${count(line.n)}, on connection ${count(line.connection)}`],
    ["Path", brief(`${line.method} ${line.path}`, 300)],
    ["Size", `${several(line.events, "event")}, ${several(line.bytes, "byte")}`]];
  for (const [key, value] of Object.entries(line.headers)) request.push([plain(key), brief(value, 300)]);
  made.push(element("h3", "", "Request"), facts(request));
  return made;
}

function bodyOf(answer) {
  if (answer.length > answer.body.length)
    return element("div", "", element("pre", "json", visible(answer.body)),
      element("p", "dim", `the first ${count(answer.body.length)} of ${count(answer.length)} characters`));
  try {
    return printJson(parseExactly(answer.body));
  } catch {
    return element("pre", "json", visible(answer.body));
  }
}
