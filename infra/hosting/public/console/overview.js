/** Runs, failures, durations and cost over time. Each bar leads to its runs. */

import { get } from "./api.js";
import { duration, fill, h, money, svg } from "./dom.js";
import { TERMINAL } from "./store.js";

const SPANS = { day: 24, week: 7 * 24, month: 30 * 24 };
const BARS = { day: 24, week: 14, month: 30 };

export function overviewView(main, user, runs, signal) {
  let span = "day";
  const content = h("div", {});
  const tabs = h("fieldset", { class: "tabs" }, h("legend", {}, "Time"), Object.keys(SPANS).map((name) =>
    h("label", {}, h("input", { type: "radio", name: "span", value: name, checked: name === span, onchange: () => ((span = name), draw()) }), name)));
  const usage = h("section", {});
  fill(main, h("h1", {}, "Overview"), tabs, content, usage);
  runs.addEventListener("change", draw, { signal });
  draw();
  if (user.groups.includes("admins")) showUsage(usage);

  function draw() {
    const since = Date.now() - SPANS[span] * 3600 * 1000;
    const mine = [...runs.byId.values()].filter((run) => new Date(run.createdAt).getTime() >= since);
    const ended = mine.filter((run) => TERMINAL.has(run.status));
    const seconds = ended.map((run) => run.seconds).filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
    const cost = mine.reduce((sum, run) => sum + (run.cost ?? 0), 0);
    fill(content,
      h("dl", { class: "figures" },
        figure("Runs", mine.length), figure("Failed", mine.filter((run) => run.status === "failed").length),
        figure("Median", duration(quantile(seconds, 0.5))), figure("95 %", duration(quantile(seconds, 0.95))),
        figure("Cost", money(cost))),
      runs.hasMore ? h("p", { class: "quiet" }, "Of the runs that this page has loaded. ", h("button", { onclick: () => runs.more() }, "Load older ones")) : null,
      h("h2", {}, "Runs over time"), chart(mine, since),
      h("h2", {}, "By model and deployment"), groups(mine, (run) => run.where || "–"),
      h("h2", {}, "Failures"), groups(mine.filter((run) => run.status === "failed"), (run) => run.error ?? "unknown"));
  }

  function chart(mine, since) {
    const count = BARS[span];
    const width = (Date.now() - since) / count;
    const bars = Array.from({ length: count }, () => ({ completed: 0, failed: 0, other: 0 }));
    for (const run of mine) {
      const bar = bars[Math.min(Math.floor((new Date(run.createdAt) - since) / width), count - 1)];
      bar[run.status in bar ? run.status : "other"]++;
    }
    const most = Math.max(...bars.map((bar) => bar.completed + bar.failed + bar.other), 1);
    return svg("svg", { class: "chart", viewBox: `0 0 ${count * 10} 60`, preserveAspectRatio: "none", role: "img", "aria-label": `${mine.length} runs, at most ${most} in one bar` },
      bars.flatMap((bar, index) => {
        let top = 60;
        return ["completed", "other", "failed"].map((name) => {
          const height = (bar[name] / most) * 56;
          top -= height;
          return svg("rect", { class: `bar ${name}`, x: index * 10 + 1, y: top, width: 8, height }, svg("title", {}, `${bar[name]} ${name}`));
        });
      }));
  }
}

function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function quantile(sorted, share) {
  return sorted.length ? sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] : null;
}

/** A list of groups by size; each leads to the newest of its runs. */
function groups(mine, keyOf) {
  const found = new Map();
  for (const run of mine) found.set(keyOf(run), [...(found.get(keyOf(run)) ?? []), run]);
  if (!found.size) return h("p", { class: "quiet" }, "None.");
  const sorted = [...found].sort((a, b) => b[1].length - a[1].length).slice(0, 10);
  return h("ul", { class: "groups" }, sorted.map(([name, members]) =>
    h("li", {}, h("a", { href: `#/runs/${members[0].id}` }, name), h("meter", { value: members.length, max: mine.length, "aria-label": `${members.length} of ${mine.length}` }), h("span", {}, members.length))));
}

async function showUsage(section) {
  const to = new Date().toISOString().slice(0, 10);
  const from = new Date(Date.now() - 30 * 86400000).toISOString().slice(0, 10);
  try {
    const usage = await get(`/api/usage/?from=${from}&to=${to}&group_by=model`);
    fill(section, h("h2", {}, "Your organization, 30 days"),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Usage" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Model", "Runs", "Failed", "Tokens in", "Tokens out", "Cost"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, usage.items.map((item) => h("tr", {}, [item.key, item.runs, item.failed, item.input_tokens, item.output_tokens, money(item.cost_usd)].map((value) => h("td", {}, value))))))));
  } catch (error) {
    fill(section, h("p", { class: "quiet" }, `The organization's usage cannot be shown: ${error.message}`));
  }
}
