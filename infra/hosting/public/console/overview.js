/** Runs, failures, durations and cost over time, by model and deployment. Each point and group leads to its runs. */

import { get } from "./api.js";
import { badge, duration, fill, h, money, svg, table, time } from "./dom.js";

const SPANS = ["day", "week", "month"];
const HEIGHT = 60;
const REFRESH = 60_000;
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
let chosen = { span: "day", scope: "own" };

export async function overviewView(main, user, signal) {
  const isAdmin = user.groups.includes("admins");
  const content = h("div", { class: "overview" }, h("p", { class: "quiet" }, "Loading …"));
  fill(main, h("h1", {}, "Overview"),
    h("div", { class: "choices" },
      radios("Time", "span", SPANS.map((span) => [span, span])),
      isAdmin ? radios("Runs", "scope", [["own", "mine"], ["organization", "my organization's"]]) : null),
    content);
  await load();
  const timer = setInterval(() => document.visibilityState === "visible" && load(), REFRESH);
  signal.addEventListener("abort", () => clearInterval(timer));

  function radios(legend, name, options) {
    return h("fieldset", { class: "tabs" }, h("legend", {}, legend), options.map(([value, text]) =>
      h("label", {}, h("input", {
        type: "radio", name, value, checked: value === chosen[name],
        onchange: () => { chosen = { ...chosen, [name]: value }; load(); },
      }), text)));
  }

  async function load() {
    const wanted = chosen;
    try {
      const answer = await get(`/api/overview/?${new URLSearchParams(isAdmin ? wanted : { span: wanted.span })}`);
      if (wanted === chosen && !signal.aborted) fill(content, page(answer));
    } catch (error) {
      if (signal.aborted) return;
      fill(content, h("p", { class: "failure", role: "alert" }, error.status ? error.message : "The server cannot be reached."),
        h("button", { onclick: load }, "Try again"));
    }
  }
}

function page(answer) {
  const { total, points } = answer;
  const whole = { scope: answer.scope, from: points[0].from, to: points.at(-1).to };
  const lead = (more) => `#/overview/runs?${new URLSearchParams({ ...whole, ...more })}`;
  const label = (point) => (answer.span === "day" ? HOUR : DAY).format(new Date(point.from));
  return [
    h("dl", { class: "figures" },
      figure("Runs", total.runs), figure("Failed", total.failed), figure("Median", duration(total.p50_seconds)),
      figure("95 %", duration(total.p95_seconds)), figure("99 %", duration(total.p99_seconds)), figure("Cost", money(total.cost_usd))),
    h("p", { class: "quiet" }, answer.span === "day" ? "The last 24 hours, by the hour in your time zone." : "By the day in UTC.",
      " Runs count when they have ended, at the time of their submission.",
      answer.is_whole ? "" : " There were more than 1,000; the oldest are not counted."),
    total.runs ? h("div", { class: "charts" },
      chart("Runs", points, [["completed", (point) => point.runs - point.failed], ["failed", (point) => point.failed]], { lead, label, show: String }),
      chart("Duration", points, [["median", (point) => point.p50_seconds], ["most", (point) => (point.p95_seconds ?? 0) - (point.p50_seconds ?? 0)]],
        { lead, label, show: (_, point) => `median ${duration(point.p50_seconds)}, 95 % ${duration(point.p95_seconds)}`, most: (point) => point.p95_seconds, top: duration }),
      chart("Cost", points, [["cost", (point) => point.cost_usd]], { lead, label, show: money, top: money }))
      : h("p", { class: "panel empty" }, "No run has ended in this time. ", h("a", { href: "#/new" }, "Submit one.")),
    total.runs ? h("details", {}, h("summary", {}, "The same as a table"),
      table("Runs over time", HEAD, points.filter((point) => point.runs).map((point) => cells(h("a", { href: lead({ from: point.from, to: point.to }) }, label(point)), point)), { isTitled: false })) : null,
    total.failures.length ? table("Failures", ["Code", "Runs"], total.failures.map(({ code, runs }) =>
      [h("a", { href: lead({ error: code, status: "failed" }) }, code), runs])) : null,
    groups("By model", "model", answer.models, lead),
    groups("By deployment", "deployment", answer.deployments, lead),
  ];
}

const HEAD = ["", "Runs", "Failed", "Median", "95 %", "99 %", "Cost"];

function cells(name, tally) {
  return [name, tally.runs, tally.failed, duration(tally.p50_seconds), duration(tally.p95_seconds), duration(tally.p99_seconds), money(tally.cost_usd)];
}

function groups(title, name, found, lead) {
  const named = found.filter((group) => group.id !== null);
  if (!named.length) return null;
  return table(title, HEAD, named.map((group) => cells(h("a", { href: lead({ [name]: group.id }) }, group.id), group)));
}

function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

/** A chart of stacked bars. Each bar is a link to its runs; the table below has the same for a keyboard. */
function chart(title, points, layers, { lead, label, show, most = (point) => layers.reduce((sum, [, value]) => sum + (value(point) ?? 0), 0), top = String }) {
  const highest = Math.max(...points.map((point) => most(point) ?? 0));
  const bars = points.map((point, index) => {
    let y = HEIGHT;
    const rects = layers.map(([name, value]) => {
      const height = highest ? ((value(point) ?? 0) / highest) * (HEIGHT - 2) : 0;
      y -= height;
      return svg("rect", { class: `bar ${name}`, x: index * 10 + 1, y, width: 8, height });
    });
    const text = `${label(point)}: ${show(most(point), point)}`;
    return svg("a", { href: lead({ from: point.from, to: point.to }), tabindex: "-1" },
      svg("title", {}, text), svg("rect", { class: "back", x: index * 10, y: 0, width: 10, height: HEIGHT }), rects);
  });
  return h("figure", {},
    h("figcaption", {}, title, h("span", { class: "quiet" }, ` up to ${top(highest)}`)),
    svg("svg", { class: "chart", viewBox: `0 0 ${points.length * 10} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars),
    h("div", { class: "axis quiet", "aria-hidden": "true" }, h("span", {}, label(points[0])), h("span", {}, label(points.at(-1)))));
}

const NAMES = { model: "model", deployment: "deployment", error: "failure", status: "status" };

/** The runs behind a point. Runs of other people have no link: nobody but their owner may open them. */
export async function foundRunsView(main, query, signal) {
  const wanted = new URLSearchParams(query);
  const filters = Object.entries(NAMES).filter(([name]) => wanted.get(name)).map(([name, text]) => `${text} ${wanted.get(name)}`);
  const rows = [];
  const list = h("div", {}, h("p", { class: "quiet", role: "status" }, "Loading …"));
  const period = wanted.get("from") ? ["Submitted from ", time(wanted.get("from")), " to ", time(wanted.get("to"))] : "Submitted in the last 24 hours";
  fill(main, h("p", {}, h("a", { href: "#/overview" }, "← Overview")),
    h("h1", {}, wanted.get("scope") === "organization" ? "Runs of my organization" : "My runs"),
    h("p", { class: "quiet" }, period, filters.length ? `; ${filters.join(", ")}` : "", "."), list);
  await more(null);

  async function more(cursor) {
    const answer = await get(`/api/overview/runs/?${new URLSearchParams({ ...Object.fromEntries(wanted), limit: 50, ...(cursor ? { cursor } : {}) })}`);
    if (signal.aborted) return;
    rows.push(...answer.runs);
    fill(list,
      rows.length ? table("Runs", ["Run", "Status", "Submitted", "Took", "Where", "Cost", "By", "Failure"], rows.map(cellsOf), { isTitled: false })
        : h("p", { class: "panel empty" }, answer.next_cursor ? "None among the newest 500." : "No run fits."),
      answer.next_cursor ? h("button", { onclick: () => more(answer.next_cursor) }, "Look further back") : null);
  }
}

function cellsOf(run) {
  const name = run.run_uuid.slice(0, 8);
  return [run.is_own ? h("a", { href: `#/runs/${run.run_uuid}` }, name) : h("code", { title: run.run_uuid }, name), badge(run.status),
    time(run.created_at), duration(run.seconds), run.model ?? run.deployment ?? "–", money(run.cost_usd), run.user_id, run.error_code ?? "–"];
}
