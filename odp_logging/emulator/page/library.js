"use strict";
// What libraries report of themselves: their log lines, and how many events wait.

const NO_REPORTS = {lines: [], processes: {}};

let reports = NO_REPORTS;

function takeLibrary(next) {
  reports = next;
  $("library-count").hidden = reports.lines.length === 0;
  $("library-count").textContent = count(reports.lines.length);
  if (viewNow === "library") drawLibrary();
}

function drawLibrary() {
  const processes = Object.entries(reports.processes).reverse();
  $("library-lines").replaceChildren(...[...reports.lines].reverse().map(lineItem));
  $("library-processes").replaceChildren(...processes.map(processItem));
  const any = reports.lines.length + processes.length > 0;
  $("library").hidden = !any;
  $("library-none").hidden = any;
  $("library-well").hidden = reports.lines.length > 0;
}

function lineItem({time, process, text}) {
  const at = element("time", "dim number", clock(time));
  at.title = moment(time);
  return element("li", "", at, icon("warning"), element("span", "text", visible(text)),
    element("span", "dim", visible(process)));
}

function processItem([process, {time, counts}]) {
  const said = Object.entries(counts).map(([name, number]) => `${plain(name)} ${count(number)}`);
  return element("li", "", element("code", "", visible(process)),
    element("span", "text", said.join(" · ")), element("time", "dim", `at ${clock(time)}`));
}
