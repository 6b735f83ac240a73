/** What operators look at: runs that nobody has handled in time. */

import { get } from "./api.js";
import { fill, h, time } from "./dom.js";

export async function operatorsView(main) {
  const section = h("section", {}, h("p", { class: "quiet" }, "Loading …"));
  fill(main, h("h1", {}, "Operators"), section, h("p", {}, h("button", { onclick: show }, "Look again")));
  await show();

  async function show() {
    try {
      const answer = await get("/api/admin/overdue/");
      fill(section, h("h2", {}, "Overdue runs"), overdue(answer.runs), unreadable(answer.unreadable ?? []));
    } catch (error) {
      fill(section, h("p", { class: "failure" }, error.message));
    }
  }
}

function overdue(runs) {
  if (!runs.length) return h("p", { class: "fine" }, "None. The sweeper works.");
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Overdue runs" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Run", "Status", "Due since", "Waits for"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, runs.map((run) => h("tr", {},
      h("td", {}, h("a", { href: `#/runs/${run.run_uuid}` }, run.run_uuid)), h("td", {}, run.status), h("td", {}, time(run.due_at)), h("td", {}, run.waiting_for ?? "–"))))));
}

function unreadable(ids) {
  if (!ids.length) return null;
  return [h("h2", {}, "Documents of another release"), h("ul", {}, ids.map((id) => h("li", {}, h("code", {}, String(id)))))];
}
