"use strict";
// Requests that the ledger has no event of: refused as a whole, or for another purpose.

const EVENTS_PATH = "/v3/events";

function readRequest(raw) {
  const entry = JSON.parse(raw);
  const status = entry.path !== EVENTS_PATH && entry.status < 300 ? "query" : "refused";
  const said = sayRequest(entry);
  return {
    n: entry.n, entry, raw: null, event: {}, identifiers: [],
    status, time: entry.time, said, type: "", action: "", warnings: [],
    warned: false, text: `${status}\n${said.title}\n${said.reason}\n${said.about}`.toLowerCase(), who: "", bare: true,
  };
}

// A request in words: its answer, the reason for it, and what else is known.
function sayRequest({status, events, lost, method, path, answer}) {
  const title = status === 0 ? "Connection dropped" : `${status} ${answer.title}`;
  const message = messageOf(answer.body);
  const reason = answer.fault ? "by a fault"
    : message && answer.note ? `${message.replace(/\.$/, "")}: ${answer.note}` : message || answer.note;
  const became = !events ? "" : lost ? `${several(lost, "event")} not taken`
    : events === 1 ? "its event was kept" : `its ${several(events, "event")} were kept`;
  const where = path === EVENTS_PATH && method === "POST" ? "" : `${method} ${path}`;
  return {title, reason, about: [answer.fault && message, became, where].filter(Boolean).join(" · ")};
}

function messageOf(body) {
  try {
    const read = JSON.parse(body);
    return String((read.detail && read.detail.message) || "");
  } catch {
    return "";
  }
}

// Only failures are red.
function toneOf(item) {
  return item.status === "query" ? "dim" : "reason";
}

function fillRequest(action, data, item) {
  const {title, reason, about} = item.said;
  action.replaceChildren(element("bdi", toneOf(item), visible(title)));
  data.replaceChildren(...[[toneOf(item), reason], ["dim", about], ["dim serial", `request ${count(item.n)}`]]
    .filter(([, text]) => text).flatMap(([tone, text]) => [element("bdi", tone, brief(text, 400)), " "]));
  data.title = plain(clipped([title, reason, about].filter(Boolean).join("\n"), 1200));
}

function openRequest(item) {
  const title = element("h2", "", `Request ${count(item.n)}`);
  const answer = section("Answer", element("p", "dim", "…"));
  const {reason, about} = item.said;
  const became = element("section", "became", element("p", "outcome", badge(item.status), element("strong", toneOf(item), visible(item.said.title))));
  if (reason) became.append(element("p", toneOf(item), visible(clipped(reason, 400))));
  if (about) became.append(element("p", "dim", visible(clipped(about, 400))));
  became.append(facts([["Arrived", `${clock(item.time)}, ${moment(item.time)}`]]));
  openDetail(events, title, became, answer);
  fillAnswer(item.n, answer);
}
