/** One run: where its time went, what it cost, source beside result, and what can be done with it. */

import { ENDS, address, get, listen, request } from "./api.js";
import { diff } from "./diff.js";
import { badge, confirmed, duration, fill, h, money, say, time } from "./dom.js";
import { keepDraft } from "./new.js";
import { TERMINAL } from "./store.js";

export async function runView(main, id, runs, signal) {
  fill(main, h("p", { class: "quiet", role: "status" }, "Loading …"));
  let run = await get(`/llm_user_runs/${id}`);
  const readPrior = () => (run.prior_run_uuid ? get(`/llm_user_runs/${run.prior_run_uuid}`).catch(() => null) : null);
  let prior = await readPrior();
  const history = [];
  let written = "";
  const draw = () => {
    if (!signal.aborted) fill(main, page(run, prior, history, written));
  };
  draw();
  const follow = listen(`/llm_user_runs/${id}/stream`, {
    signal,
    onEvent: async ({ type, data }) => {
      history.push(data);
      written += data.detail?.delta ?? "";
      run = { ...run, status: data.status, ...(data.run ?? {}) };
      if (data.detail?.progress !== undefined) run.progress = data.detail.progress;
      draw();
      if (!ENDS.has(type)) return;
      runs.put(run);
      prior = await readPrior(); // it may have been open until now
      draw();
    },
  });
  follow.catch((error) => say(error.message));
}

function page(run, prior, history, written) {
  const isOpen = !TERMINAL.has(run.status);
  const hasText = run.input_text !== null && run.input_text !== undefined;
  return [
    h("p", {}, h("a", { href: "#/runs" }, "← Runs")),
    h("div", { class: "heading" },
      h("h1", {}, badge(run.status), " ", h("code", {}, run.run_uuid)),
      h("div", { class: "actions" },
        isOpen ? h("button", { class: "danger", onclick: () => cancel(run) }, "Cancel") : null,
        hasText ? h("button", { onclick: () => again(run) }, "Run again …") : null,
        h("button", { onclick: () => copyCurl(run) }, "Copy as curl"),
        isOpen || run.deleted_at ? null : h("button", { class: "danger", onclick: () => erase(run) }, "Delete"))),
    isOpen ? openState(run) : null,
    run.error ? h("p", { class: "failure" }, h("strong", {}, run.error.code), " ", run.error.message) : null,
    run.deleted_at ? h("p", { class: "quiet" }, "Its content was deleted on ", time(run.deleted_at), ".") : null,
    h("dl", { class: "facts" }, facts(run).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    timeline(run),
    h("div", { class: "columns" },
      panel(`Source${run.source_lang ? ` (${run.source_lang})` : ""}`, cells(run) ?? marked(run.input_text, terms(run, "source"))),
      panel(`Result${run.target_lang ? ` (${run.target_lang})` : ""}`, resultOf(run, written))),
    prior?.result?.text && run.result?.text ? difference(prior, run) : null,
    checks(run), memory(run), attempts(run), events(history),
  ];
}

function openState(run) {
  const waits = run.waiting_for ? `It waits: ${run.waiting_for.replaceAll("_", " ")}. ` : "";
  const next = run.next_check_at ? ["It is looked at again at ", time(run.next_check_at), "."] : "";
  const progress = run.progress === undefined ? null : h("progress", { value: run.progress, max: 1, "aria-label": "progress" });
  return h("p", { class: "waiting", role: "status" }, progress, " ", waits, next);
}

function facts(run) {
  const metrics = run.metrics ?? {};
  return [
    ["Kind", run.kind?.replaceAll("_", " ")],
    ["Submitted", time(run.created_at)],
    ["Took", duration(run.processing_time)],
    ["LLM", run.model_used ?? run.attempts?.at(-1)?.model ?? run.deployment ?? "–"],
    ["Tokens", metrics.input_tokens === undefined ? "–" : `${metrics.input_tokens} in, ${metrics.output_tokens} out`],
    ["Cost", money(metrics.cost_usd)],
    ["Channel", run.channel],
    run.prior_run_uuid ? ["Repeats", h("a", { href: `#/runs/${run.prior_run_uuid}` }, run.prior_run_uuid.slice(0, 8))] : null,
  ].filter(Boolean);
}

/** Where the seconds went: queued, at the LLM, and our own work. */
function timeline(run) {
  const metrics = run.metrics ?? {};
  const total = run.completed_at ? (new Date(run.completed_at) - new Date(run.created_at)) / 1000 : null;
  if (!total) return null;
  const queued = metrics.queue_seconds ?? 0;
  const llm = metrics.llm_seconds ?? 0;
  const parts = [["queued", queued], ["LLM", llm], ["our own", Math.max(total - queued - llm, 0)]];
  const bar = h("div", { class: "timeline", role: "img", "aria-label": parts.map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ") },
    parts.map(([name, seconds], index) => {
      const part = h("span", { class: `part part-${index}`, title: `${name}: ${duration(seconds)}` });
      part.style.flexGrow = seconds / total;
      return part;
    }));
  return h("section", {}, h("h2", {}, "Where the time went"), bar,
    h("ul", { class: "legend" }, parts.map(([name, seconds], index) => h("li", { class: `key-${index}` }, `${name} ${duration(seconds)}`))));
}

function panel(title, content) {
  return h("section", { class: "panel" }, h("h2", {}, title), content);
}

function terms(run, side) {
  return (run.result?.term_pairs ?? []).map((pair) => pair[side]).filter(Boolean);
}

/** The text with its terms and failed checks marked. */
function marked(text, words) {
  if (!text) return h("p", { class: "quiet" }, "–");
  const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).sort((a, b) => b.length - a.length);
  if (!pattern.length) return h("p", { class: "text" }, text);
  const parts = text.split(new RegExp(`(${pattern.join("|")})`, "giu"));
  return h("p", { class: "text" }, parts.map((part, index) => (index % 2 ? h("mark", {}, part) : part)));
}

/** A flattened notebook as its cells; null for other texts. */
function cells(run) {
  const parts = run.kind === "job" ? (run.input_text ?? "").split(/^(?=(?:## |# )?\[?(?:Cell|cell) \d+)/m) : [];
  return parts.length > 1 ? h("ol", { class: "cells" }, parts.map((part) => h("li", { class: "text" }, part))) : null;
}

function resultOf(run, written) {
  if (run.result?.text) return marked(run.result.text, [...terms(run, "target"), ...failedTargets(run)]);
  if (written) return h("p", { class: "text writing", "aria-live": "off" }, written);
  return h("p", { class: "quiet" }, TERMINAL.has(run.status) ? "No result." : "Nothing yet.");
}

function failedTargets(run) {
  return (run.checks ?? []).filter((check) => !check.ok).map((check) => check.target).filter(Boolean);
}

function difference(prior, run) {
  const parts = diff(prior.result.text, run.result.text);
  const tag = { same: "span", removed: "del", added: "ins" };
  return h("section", { class: "panel" }, h("h2", {}, "Compared with the run before"),
    h("p", { class: "text" }, parts.map((part) => h(tag[part.kind], {}, part.text))));
}

function checks(run) {
  if (!run.checks?.length) return null;
  return h("section", {}, h("h2", {}, `Checks${run.repaired ? " (the second answer was kept)" : ""}`),
    h("ul", { class: "checks" }, run.checks.map((check) =>
      h("li", { class: check.ok ? "ok" : "bad" }, h("strong", {}, check.check), " ", check.ok ? "kept" : check.detail))));
}

function memory(run) {
  const flags = run.result?.memory_flags ?? [];
  if (!flags.length) return null;
  return table("Translation memory", ["Segment", "Match", "Used"], flags.map((flag) =>
    [flag.segment, flag.match === null ? "–" : `${Math.round(flag.match * 100)} %`, flag.used ? "yes" : "no"]));
}

function attempts(run) {
  if (!run.attempts?.length) return null;
  return table("Attempts", ["", "Began", "Took", "Outcome", "Where", "May be billed", "Cost"], run.attempts.map((attempt) =>
    [attempt.number, time(attempt.started_at), took(attempt), attempt.outcome ?? "…", attempt.model ?? attempt.deployment ?? "",
      attempt.may_be_billed ? "yes" : "no", money(attempt.cost_usd)]));
}

function took(attempt) {
  return attempt.ended_at ? duration((new Date(attempt.ended_at) - new Date(attempt.started_at)) / 1000) : "…";
}

function events(history) {
  if (!history.length) return null;
  return table("Events", ["", "At", "Type", "Detail"], history.map((event) =>
    [event.sequence, time(event.at), event.type, event.detail?.delta ? "text" : Object.entries(event.detail ?? {}).map(([name, value]) => `${name}: ${value}`).join(", ")]));
}

function table(title, head, rows) {
  return h("section", {}, h("h2", {}, title),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {},
      h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name || h("span", { class: "hidden" }, "number"))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, value))))))));
}

async function cancel(run) {
  if (!(await confirmed("Cancel this run?", "The LLM is asked to stop. What it has done so far may still be billed.", "Cancel the run"))) return;
  await attempt(() => request("POST", `/api/llm/jobs/${run.run_uuid}/cancel/`), "Cancelled.");
}

async function erase(run) {
  if (!(await confirmed("Delete this run?", "Its input and result are erased for good. Times, status and cost stay.", "Delete it"))) return;
  await attempt(() => request("DELETE", `/llm_user_runs/${run.run_uuid}`), "Deleted.");
  dispatchEvent(new HashChangeEvent("hashchange"));
}

async function attempt(action, done) {
  try {
    await action();
    say(done);
  } catch (error) {
    say(error.message);
  }
}

function again(run) {
  keepDraft(run);
  location.hash = "#/new";
}

async function copyCurl(run) {
  const url = new URL(address(`/llm_user_runs/${run.run_uuid}`), location.href);
  await navigator.clipboard.writeText(`curl ${url} -H "Authorization: Bearer $TOKEN"`).then(
    () => say("Copied. Set TOKEN to a token of yours."),
    () => say("The browser did not allow the copy."));
}
