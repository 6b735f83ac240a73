/** Starts the console: signs in, draws the header, and shows the view that the address names. */

import { fill, h, say } from "./dom.js";
import { newView } from "./new.js";
import { operatorsView } from "./operators.js";
import { foundRunsView, overviewView } from "./overview.js";
import { runView } from "./run.js";
import { runsView } from "./runs.js";
import { signIn } from "./session.js";
import { Runs } from "./store.js";

const main = document.getElementById("main");
const user = await signIn(main);
const runs = new Runs(user);
let leaving = new AbortController();

const VIEWS = [
  [/^#\/runs\/([0-9a-f-]+)$/i, (id, signal) => runView(main, id, runs, signal), "Run"],
  [/^#\/new$/, () => newView(main, user, runs), "New run"],
  [/^#\/overview\/runs\?(.*)$/, (query, signal) => foundRunsView(main, query, signal), "Overview"],
  [/^#\/overview$/, (_, signal) => overviewView(main, user, signal), "Overview"],
  [/^#\/operators$/, (_, signal) => operatorsView(main, signal), "Operators"],
  [/^/, (_, signal) => runsView(main, runs, signal), "Runs"],
];

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [pattern, view, title] = VIEWS.find(([pattern]) => pattern.test(location.hash));
  document.title = `${title} · LLM Runs`;
  header(title);
  try {
    await view(location.hash.match(pattern)[1], signal);
  } catch (error) {
    if (signal.aborted) return;
    fill(main, h("p", { class: "failure", role: "alert" }, error.status ? error.message : "The server cannot be reached."),
      h("p", {}, h("a", { href: "#/runs" }, "Back to the runs")));
  }
  if (signal.aborted) return; // a view that was left while it loaded takes no focus from the next one
  if (shownBefore) main.focus({ preventScroll: true });
  shownBefore = true;
}

let shownBefore = false;

function header(title) {
  const links = [["#/runs", "Runs"], ["#/new", "New run"], ["#/overview", "Overview"], ...(user.groups.includes("admins") ? [["#/operators", "Operators"]] : [])];
  fill(document.getElementById("header"),
    h("a", { class: "brand", href: "#/runs" }, "LLM Runs"),
    h("nav", { "aria-label": "Views" }, links.map(([href, text]) => h("a", { href, "aria-current": text === title ? "page" : null }, text))),
    h("span", { class: "who" }, user.id, " ", h("button", { class: "link", onclick: user.signOut }, "sign out")));
}

addEventListener("hashchange", show);
addEventListener("offline", () => say("You are offline. The page goes on when you are back."));
addEventListener("online", () => runs.load());
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    document.getElementById("search")?.focus();
  }
});
await show();
await runs.load();
runs.follow(new AbortController().signal);
