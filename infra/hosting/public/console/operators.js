/** What administrators look at: what is stuck, what could not be delivered, and how full the limits are. */

import { get, request } from "./api.js";
import { badge, confirmed, duration, fill, h, money, say, table, time } from "./dom.js";

const SECTIONS = [
  ["Overdue runs", "/api/admin/overdue/", overdue],
  ["Dead letters", "/api/admin/dead-letters/", deadLetters],
  ["Circuit breakers", "/api/admin/breakers/", breakers],
  ["Limits", "/api/admin/limits/", limits],
];

export async function operatorsView(main, signal) {
  const parts = SECTIONS.map(([title, path, draw]) => {
    const body = h("div", {}, h("p", { class: "quiet" }, "Loading …"));
    const load = () => show(path, draw, body, load, signal);
    return { load, section: h("section", { class: "panel" }, h("h2", {}, title), body) };
  });
  const all = () => Promise.all(parts.map((part) => part.load()));
  fill(main, h("div", { class: "heading" }, h("h1", {}, "Operators"), h("button", { onclick: () => all().then(() => say("Looked again.")) }, "Look again")),
    h("p", { class: "quiet" }, "Of your organization."), parts.map((part) => part.section));
  await all();
}

async function show(path, draw, body, load, signal) {
  try {
    const answer = await get(path);
    if (!signal.aborted) fill(body, draw(answer, load));
  } catch (error) {
    if (!signal.aborted) fill(body, h("p", { class: "failure", role: "alert" }, error.status ? error.message : "The server cannot be reached."));
  }
}

function overdue({ runs, unreadable }) {
  return [
    runs.length ? table("Overdue runs", ["Run", "Status", "Due since", "Waits for"], runs.map((run) =>
      [shortId(run.run_uuid), badge(run.status), time(run.due_at), run.waiting_for ?? "–"]), { isTitled: false })
      : h("p", { class: "fine" }, "None. The sweeper works."),
    unreadable.length ? [h("h3", {}, "Documents of another release"), h("ul", {}, unreadable.map((id) => h("li", {}, h("code", {}, String(id)))))] : null,
  ];
}

function shortId(id) {
  return h("code", { title: id }, id.slice(0, 8));
}

function deadLetters({ dead_letters: letters, unreadable, is_whole: isWhole }, load) {
  return [
    letters.length ? table("Dead letters", ["Run", "Status", "Action", "Kept", "From", "Reason"], letters.map((letter) =>
      [shortId(letter.run_uuid), badge(letter.status),
        h("button", { onclick: () => replay(letter, load) }, "Replay", h("span", { class: "hidden" }, ` the letter of ${letter.run_uuid}`)),
        time(letter.kept_at), letter.source, letter.reason]), { isTitled: false })
      : h("p", { class: "fine" }, "None: every message was handled."),
    unreadable ? h("p", { class: "quiet" }, `${unreadable} more name no run that can be read.`) : null,
    isWhole ? null : h("p", { class: "quiet" }, "There are more than are looked at here; python -m infra.replay_dead_letters handles all."),
  ];
}

async function replay(letter, load) {
  const sentence = "An open run is sent to a worker again, which may call the LLM. The letter is removed.";
  if (!(await confirmed("Replay this letter?", sentence, "Replay it", { isDangerous: false }))) return;
  try {
    const { outcome } = await request("POST", "/api/admin/dead-letters/replay/", { body: { source: letter.source, message_id: letter.message_id } });
    say(outcome === "sent" ? "The run was sent to a worker." : "The run had ended; the letter was removed.");
  } catch (error) {
    say(error.status ? error.message : "The server cannot be reached.");
  }
  await load();
}

function breakers({ breakers: found }) {
  const open = found.filter((breaker) => breaker.state === "open").length;
  return [
    h("p", { class: open ? "failure" : "fine" }, open ? `${open} open: calls are held back.` : "All closed: calls go through."),
    h("p", { class: "quiet" }, "Of the process that answered. Every process has its own; a deployed worker's log says “circuit breaker open”."),
    table("Circuit breakers", ["Deployment or model", "State", "Failures in a row", "Next try"], found.map((breaker) =>
      [breaker.deployment ?? breaker.model, h("span", { class: `badge ${breaker.state === "open" ? "failed" : "completed"}` }, breaker.state),
        breaker.failures, breaker.state === "open" ? `in ${duration(breaker.retry_seconds)}` : "–"]), { isTitled: false }),
  ];
}

function limits({ open_runs: open, submits_a_minute: submits, budget_of_day: day, budget_of_month: month }) {
  const busiest = submits.users[0]?.used ?? 0;
  return [
    h("div", { class: "gauges" },
      gauge("Open runs", open.used, open.maximum, `${open.used} of ${open.maximum ?? "any number"}`),
      gauge("Submits this minute", busiest, submits.maximum, `${busiest} by the busiest user; each may make ${submits.maximum ?? "any number"}`),
      budget("Budget today", day), budget("Budget this month", month)),
    submits.users.length ? table("Submits this minute", ["User", "Submits"], submits.users.map((user) => [user.user_id, user.used]), { level: "h3" }) : null,
  ];
}

function budget(name, used) {
  if (!used) return gauge(name, 0, null, "no budget is set");
  const taken = used.spent_usd + used.reserved_usd;
  return gauge(name, taken, used.limit_usd, [`${money(used.spent_usd)} spent and ${money(used.reserved_usd)} reserved of ${money(used.limit_usd)}; renews `, time(used.renews_at)]);
}

function gauge(name, value, maximum, text) {
  const id = `gauge-${name.toLowerCase().replaceAll(" ", "-")}`;
  return h("div", { class: "gauge" }, h("strong", { id }, name),
    maximum ? h("meter", { value: Math.min(value, maximum), max: maximum, high: maximum * 0.8, optimum: 0, "aria-labelledby": id }) : null,
    h("span", { class: "quiet" }, text));
}
