"use strict";
// A fault in words: what it does, to which requests, and for how long.

const TITLES = {
  200: "OK", 202: "Accepted", 204: "No Content", 301: "Moved Permanently", 302: "Found", 307: "Temporary Redirect", 308: "Permanent Redirect",
  400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
  413: "Content Too Large", 422: "Unprocessable Content", 425: "Too Early", 429: "Too Many Requests",
  500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
};

function sayStatus(status) {
  return TITLES[status] ? `${status} ${TITLES[status]}` : String(status);
}

function sayFault(fault) {
  return [sayEffect(fault), ...saySettings(fault)].join(", ");
}

function sayEffect(fault) {
  const share = sayShare(fault);
  if (fault.drop === "before") return `connection dropped for ${share}, before the events are taken`;
  if (fault.drop === "after") return `answer lost for ${share}, after the events are taken`;
  const selects = fault.events !== undefined || fault.match !== undefined;
  const limits = [["max_events", "event"], ["max_bytes", "byte"]].filter(([name]) => fault[name] !== undefined)
    .map(([name, one]) => `more than ${several(fault[name], one)}`);
  if (fault.status === undefined && !selects && !limits.length)
    return fault.latency ? `${share} answered ${span(fault.latency)} late` : `another answer to ${share}`;
  const answer = sayStatus(fault.status === undefined ? (selects ? 400 : 413) : fault.status);
  return `${answer} to ${share}${limits.length ? ` of ${limits.join(" or ")}` : ""}${saySelection(fault)}`;
}

function sayShare({rate}) {
  if (rate === undefined || rate === 1) return "every request";
  if (rate === 0.5) return "half of the requests";
  return `${count(Math.round(rate * 1000) / 10)} % of the requests`;
}

function saySelection({events: indexes, match, opaque}) {
  const said = [];
  if (indexes !== undefined) said.push(`with an event at index ${indexes.slice(0, 5).join(", ")}${indexes.length > 5 ? ", …" : ""}`);
  if (match !== undefined) said.push(`with an event that contains “${clipped(match, 60)}”`);
  if (!said.length) return "";
  return ` ${said.join(" or ")}${opaque ? ", without naming it" : ""}`;
}

function saySettings(fault) {
  const said = [];
  const hasAnswer = fault.status !== undefined || fault.drop !== undefined;
  if (fault.latency && hasAnswer) said.push(`${span(fault.latency)} late`);
  if (fault.retry_after !== undefined) said.push(`Retry-After: ${clipped(fault.retry_after, 40)}`);
  if (fault.keep === true) said.push("the events are taken all the same");
  if (fault.keep === false) said.push("the events are not taken");
  if (fault.body !== undefined) said.push(`body “${clipped(fault.body, 60)}”`);
  if (fault.content_type !== undefined) said.push(`as ${clipped(fault.content_type, 60)}`);
  if (fault.location !== undefined) said.push(`to ${clipped(fault.location, 60)}`);
  return said;
}

// How often it fired, and what is left of it at *now*, in milliseconds of the page.
function sayProgress(fault, now) {
  const fired = fault.count ? `fired ${count(fault.fired)} of ${several(fault.count, "time")}`
    : fault.fired ? `fired ${several(fault.fired, "time")}` : "not fired yet";
  const left = fault.until === undefined ? "" : `, ${sayLeft((fault.until - now) / 1000)}`;
  return fired + left;
}

function sayLeft(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 120) return `${whole} s left`;
  return `${Math.floor(whole / 60)} min ${whole % 60} s left`;
}
