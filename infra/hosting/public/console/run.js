/** One run: where its time went, what it cost, source beside result, and what can be done with it. */

import { ENDS, address, get, listen, request } from "./api.js";
import { diff } from "./diff.js";
import { badge, confirmed, duration, fill, h, money, say, table, time } from "./dom.js";
import { listenToRun } from "./live.js";
import { keepDraft } from "./new.js";
import { TERMINAL } from "./store.js";

export async function runView(main, id, runs, signal) {
  fill(main, h("p", { class: "quiet", role: "status" }, "Loading …"));
  let run = await get(`/llm_user_runs/${id}`);
  const readPrior = () => (run.prior_run_uuid ? get(`/llm_user_runs/${run.prior_run_uuid}`).catch(() => null) : null);
  let prior = await readPrior();
  let history = [];
  let written = "";
  const draw = () => {
    if (!signal.aborted) fill(main, page(run, prior, history, written));
  };
  draw();
  if (runs.user.firestore) {
    listenToRun(runs.user.firestore, id, {
      signal,
      onError: (error) => say(error.message),
      onChange: async (events) => {
        history = events;
        written = events.map((event) => event.detail?.delta ?? "").join("");
        run = await get(`/llm_user_runs/${id}`).catch(() => run);
        prior = await readPrior();
        draw();
      },
    });
    return;
  }
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
      panel(`Source${run.source_lang ? ` (${run.source_lang})` : ""}`, cells(run) ?? marked(run.input_text, marksOf(run, "source"))),
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

/** Where the seconds went: queued, waiting between attempts, at the LLM, and our own work. */
function timeline(run) {
  const metrics = run.metrics ?? {};
  const total = run.completed_at ? (new Date(run.completed_at) - new Date(run.created_at)) / 1000 : null;
  if (!total) return null;
  const queued = metrics.queue_seconds ?? 0;
  const ended = (run.attempts ?? []).filter((attempt) => attempt.ended_at);
  const llm = ended.length ? ended.reduce((sum, attempt) => sum + between(attempt.started_at, attempt.ended_at), 0) : (metrics.llm_seconds ?? 0);
  const waiting = ended.slice(1).reduce((sum, attempt, index) => sum + Math.max(between(ended[index].ended_at, attempt.started_at), 0), 0);
  const parts = [["queued", queued], ["waiting", waiting], ["LLM", llm], ["our own", Math.max(total - queued - waiting - llm, 0)]];
  const bar = h("div", { class: "timeline", role: "img", "aria-label": parts.map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ") },
    parts.map(([name, seconds], index) => {
      const part = h("span", { class: `part part-${index}`, title: `${name}: ${duration(seconds)}` });
      part.style.flexGrow = seconds / total;
      return part;
    }));
  return h("section", {}, h("h2", {}, "Where the time went"), bar,
    h("ul", { class: "legend" }, parts.map(([name, seconds], index) => h("li", { class: `key-${index}` }, `${name} ${duration(seconds)}`))));
}

function between(start, end) {
  return (new Date(end) - new Date(start)) / 1000;
}

function panel(title, content) {
  return h("section", { class: "panel" }, h("h2", {}, title), content);
}

/** What is marked in the text of one side: terms with their translations, and the places of failed checks. */
function marksOf(run, side) {
  const terms = (run.result?.term_pairs ?? []).map((pair) => ({ text: pair[side], title: `term: ${pair.source} → ${pair.target}`, kind: "term" }));
  const failed = (run.checks ?? []).flatMap((check, index) =>
    check.ok ? [] : [{ text: check[side], title: `${check.check}: ${check.detail}`, kind: "wrong", index }]);
  return [...failed, ...terms].filter((mark) => mark.text);
}

/** The text with its marks. A failed check wins over a term in the same place, and the longer mark over the shorter. */
function marked(text, marks) {
  if (!text) return h("p", { class: "quiet" }, "–");
  if (!marks.length) return h("p", { class: "text" }, text);
  const byText = new Map([...marks].reverse().map((mark) => [mark.text.toLowerCase(), mark]));
  const pattern = [...byText.values()].map((mark) => mark.text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).sort((a, b) => b.length - a.length);
  const parts = text.split(new RegExp(`(${pattern.join("|")})`, "giu"));
  return h("p", { class: "text" }, parts.map((part, index) => (index % 2 ? mark(part, byText.get(part.toLowerCase())) : part)));
}

function mark(part, found) {
  if (found?.kind !== "wrong") return h("mark", { title: found?.title }, part);
  return h("mark", { class: "wrong", title: found.title, tabindex: "-1", "data-check": found.index }, part, h("span", { class: "hidden" }, ` (${found.title})`));
}

function showPlace(index) {
  const place = document.querySelector(`mark[data-check="${index}"]`);
  place?.scrollIntoView({ block: "center" });
  place?.focus({ preventScroll: true });
}

/** A flattened notebook as its cells; null for other texts. */
function cells(run) {
  const parts = run.kind === "job" ? (run.input_text ?? "").split(/^(?=## Cell \d+ \()/m) : [];
  return parts.length > 1 || /^## Cell 1 /.test(parts[0] ?? "") ? h("ol", { class: "cells" }, parts.map(cell)) : null;
}

function cell(part) {
  const [heading, ...lines] = part.trim().split("\n");
  const [source, ...outputs] = lines.join("\n").split(/^### Output\n/m);
  return h("li", {}, h("h3", {}, heading.replace(/^## /, "")), h("pre", { tabindex: "0", "aria-label": heading.replace(/^## /, "") }, source.trimEnd()),
    outputs.map((output) => [h("h4", {}, "Output"), h("pre", { class: "output", tabindex: "0", "aria-label": "Output" }, output.trimEnd())]));
}

function resultOf(run, written) {
  if (run.result?.text) return marked(run.result.text, marksOf(run, "target"));
  if (written) return h("p", { class: "text writing", "aria-live": "off" }, written);
  return h("p", { class: "quiet" }, TERMINAL.has(run.status) ? "No result." : "Nothing yet.");
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
    h("ul", { class: "checks" }, keptChecks(run), run.checks.map((check, index) => check.ok ? null :
      h("li", { class: "bad" }, h("strong", {}, check.check), " ", check.detail,
        isInText(run, check) ? h("button", { class: "link", onclick: () => showPlace(index) }, "show in the text", h("span", { class: "hidden" }, `: ${check.check}`)) : null))));
}

/** One line for all that is as it should be: each kind of check once, with its number. */
function keptChecks(run) {
  const counts = new Map();
  for (const check of run.checks.filter((check) => check.ok)) counts.set(check.check, (counts.get(check.check) ?? 0) + 1);
  const names = [...counts].map(([name, count]) => (count > 1 ? `${name} (${count})` : name));
  return names.length ? h("li", { class: "ok" }, h("strong", {}, "kept"), ` ${names.join(", ")}`) : null;
}

function isInText(run, check) {
  const has = (text, part) => part && text?.toLowerCase().includes(part.toLowerCase());
  return !check.ok && (has(run.input_text, check.source) || has(run.result?.text, check.target));
}

function memory(run) {
  const flags = run.result?.memory_flags ?? [];
  if (!flags.length) return null;
  return table("Translation memory", ["Segment", "Match", "Used"], flags.map((flag) =>
    [flag.segment, flag.match === null ? "–" : `${Math.round(flag.match * 100)} %`, flag.used ? "yes" : "no"]));
}

function attempts(run) {
  if (!run.attempts?.length) return null;
  return table("Attempts", ["No.", "Began", "Took", "Outcome", "Where", "May be billed", "Cost"], run.attempts.map((attempt) =>
    [attempt.number, time(attempt.started_at), took(attempt), attempt.outcome ?? "…", attempt.model ?? attempt.deployment ?? "",
      attempt.may_be_billed ? "yes" : "no", money(attempt.cost_usd)]));
}

function took(attempt) {
  return attempt.ended_at ? duration((new Date(attempt.ended_at) - new Date(attempt.started_at)) / 1000) : "…";
}

function events(history) {
  if (!history.length) return null;
  return table("Events", ["No.", "At", "Type", "Detail"], history.map((event) =>
    [event.sequence, time(event.at), event.type, event.detail?.delta ? "text" : Object.entries(event.detail ?? {}).map(([name, value]) => `${name}: ${value}`).join(", ")]));
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

async function again(run) {
  const job = run.kind === "job" ? await get(`/api/llm/jobs/${run.run_uuid}/status/`).catch(() => ({})) : {};
  keepDraft({ ...run, model: job.model, job_type: job.job_type });
  location.hash = "#/new";
}

async function copyCurl(run) {
  const url = new URL(address(`/llm_user_runs/${run.run_uuid}`), location.href);
  await navigator.clipboard.writeText(`curl ${url} -H "Authorization: Bearer $TOKEN"`).then(
    () => say("Copied. Set TOKEN to a token of yours."),
    () => say("The browser did not allow the copy."));
}
