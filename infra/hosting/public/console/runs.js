/** The list of runs: live, with open ones on top. It draws only the rows that are in sight. */

import { badge, duration, fill, h, money, time } from "./dom.js";
import { TERMINAL } from "./store.js";

const ROW = 52;
const SPARE = 10;
const STATUSES = ["pending", "processing", "completed", "failed", "cancelled"];
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function runsView(main, runs, signal) {
  let selected = -1;
  let selectedId = null; // stays when a reload drops the row for a moment
  let rows = [];
  const state = h("p", { class: "state", role: "status" });
  const space = h("div", { class: "space" });
  const list = h("div", {
    class: "list", role: "listbox", tabindex: "0", "aria-label": "Runs, newest first", onscroll: draw, onkeydown: move,
  }, space);
  const search = h("input", { type: "search", id: "search", placeholder: "id of a run", autocomplete: "off", oninput: find });
  const found = h("p", { class: "error", id: "search-error" });
  fill(main,
    h("h1", { class: "hidden" }, "Runs"),
    h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Kind", choice("family", [["", "all"], ["user_run", "translations"], ["job", "jobs"]])),
      h("label", {}, "Status", choice("status", [["", "all"], ...STATUSES.map((status) => [status, status])])),
      h("label", { for: "search" }, "Find", search),
      found,
      h("a", { class: "button primary", href: "#/new" }, "New run")),
    state,
    list);

  function choice(name, options) {
    const change = (event) => {
      runs.filter = { ...runs.filter, [name]: event.target.value };
      list.scrollTop = 0;
      runs.load();
    };
    return h("select", { onchange: change }, options.map(([value, text]) =>
      h("option", { value, selected: runs.filter[name] === value }, text)));
  }

  function find() {
    const wanted = search.value.trim();
    found.textContent = "";
    if (UUID.test(wanted)) location.hash = `#/runs/${wanted}`;
    else refresh();
  }

  function refresh() {
    const wanted = search.value.trim().toLowerCase();
    rows = runs.list().filter((run) => !wanted || run.id.startsWith(wanted) || run.title.toLowerCase().includes(wanted));
    selected = rows.findIndex((run) => run.id === selectedId);
    space.style.height = `${rows.length * ROW}px`;
    fill(state, stateText(wanted));
    draw();
  }

  function stateText(wanted) {
    if (runs.state === "loading") return "Loading …";
    if (runs.state !== "ready") return `The runs could not be loaded: ${runs.state}`;
    const live = runs.live === "live" ? " · live" : " · not live, connecting again …";
    if (!rows.length && wanted) return ["No loaded run fits. A whole id also finds older runs.", live];
    if (!rows.length && runs.filter.status) return ["No run has this status.", live];
    if (!rows.length) return ["No runs yet. ", h("a", { href: "#/new" }, "Submit the first one."), live];
    const open = rows.filter((run) => !TERMINAL.has(run.status)).length;
    const older = wanted ? "+" : ` of ${runs.total}`;
    return `${rows.length}${runs.hasMore ? older : ""} runs, ${open} open${live}`;
  }

  function draw() {
    const first = Math.max(Math.floor(list.scrollTop / ROW) - SPARE, 0);
    const last = Math.min(first + Math.ceil(list.clientHeight / ROW) + 2 * SPARE, rows.length);
    fill(space, rows.slice(first, last).map((run, index) => row(run, first + index)));
    list.setAttribute("aria-activedescendant", rows[selected] ? `run-${rows[selected].id}` : "");
    if (last >= rows.length - SPARE && runs.hasMore && runs.state === "ready") runs.more();
  }

  function row(run, index) {
    return h("a", {
      id: `run-${run.id}`, class: `row${index === selected ? " selected" : ""}`, role: "option", href: `#/runs/${run.id}`,
      tabindex: "-1", "aria-selected": String(index === selected), "aria-posinset": index + 1,
      "aria-setsize": rows.length, "data-top": index * ROW,
    }, badge(run.status), h("span", { class: "title" }, run.title || run.kind), detail(run),
    h("span", { class: "where" }, run.where), h("span", { class: "cost" }, run.cost === null ? "" : money(run.cost)),
    h("span", { class: "when" }, time(run.createdAt)));
  }

  function detail(run) {
    if (TERMINAL.has(run.status)) return h("span", { class: "detail" }, run.error ?? duration(run.seconds));
    const waits = run.waitingFor ? `waits: ${run.waitingFor.replaceAll("_", " ")}` : "";
    const progress = run.progress === null ? null : h("progress", { value: run.progress, max: 1, "aria-label": "progress" });
    return h("span", { class: "detail" }, waits || progress || "…");
  }

  function move(event) {
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -rows.length, End: rows.length }[event.key];
    if (event.key === "Enter" && selectedId) location.hash = `#/runs/${selectedId}`;
    if (step === undefined || !rows.length) return;
    event.preventDefault();
    selected = Math.min(Math.max(selected + step, 0), rows.length - 1);
    selectedId = rows[selected].id;
    const top = selected * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
  }

  // A style attribute would need 'unsafe-inline'; setting the property does not.
  new MutationObserver(() => {
    for (const element of space.children) element.style.transform = `translateY(${element.dataset.top}px)`;
  }).observe(space, { childList: true });
  addEventListener("resize", draw, { signal });
  runs.addEventListener("change", refresh, { signal });
  refresh();
}
