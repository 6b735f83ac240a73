/** Holds the runs that the page knows: pages of the lists, and what the channel's stream tells since. */

import { get, listen, request } from "./api.js";
import { listenToRuns } from "./live.js";

const FAMILIES = [
  { name: "user_run", path: "/llm_user_runs", items: "runs" },
  { name: "job", path: "/api/llm/jobs/", items: "jobs" },
];
const PAGE = 100;
export const TERMINAL = new Set(["completed", "failed", "cancelled"]);

/** Returns what the lists and the run's own route show, under the same names. */
export function summary(run) {
  const id = run.run_uuid ?? run.job_id;
  const metrics = run.metrics ?? {};
  return {
    id,
    kind: run.kind ?? run.job_type,
    title: run.input_text ?? `${(run.job_type ?? "").replaceAll("_", " ")}`,
    status: run.status,
    createdAt: run.created_at,
    seconds: run.processing_time,
    waitingFor: run.waiting_for ?? null,
    nextCheckAt: run.next_check_at ?? null,
    progress: run.progress ?? null,
    where: run.deployment ?? run.model?.name ?? "",
    cost: metrics.cost_usd ?? null,
    error: run.error?.message ?? run.error_message ?? null,
  };
}

export class Runs extends EventTarget {
  constructor(user) {
    super();
    this.user = user;
    this.byId = new Map();
    this.state = "loading";
    this.live = "waiting";
    this.filter = { status: "", family: "" };
    this._pages = new Map();
    this._loading = null;
    this._generation = 0;
  }

  /** Starts to listen until the signal is aborted: to Firestore where that is set up, else to the user's channel. */
  follow(signal) {
    if (this.user.firestore) {
      listenToRuns(this.user.firestore, this.user.id, {
        signal,
        onRun: (run) => {
          this.put(run);
          this._changed();
        },
        onState: (live) => {
          this.live = live;
          this._changed();
        },
      });
      return;
    }
    const channel = encodeURIComponent(`user:${this.user.id}`);
    listen(`/channels/${channel}/stream`, {
      signal,
      onEvent: (event) => this._onEvent(event.data),
      onState: (live) => {
        const isBack = live === "live" && this.live === "waiting" && this.state === "ready";
        this.live = live;
        if (isBack) this.load();
        this._changed();
      },
    }).catch((error) => {
      this.live = error.message;
      this._changed();
    });
  }

  /** Loads the first pages anew, for another filter or after a break. */
  async load() {
    const generation = ++this._generation;
    this._pages = new Map(FAMILIES.map((family) => [family.name, { cursor: null, oldest: null, done: false, total: 0, isAtLeast: false }]));
    this._loading = null;
    if (!this.byId.size) this.state = "loading";
    this._changed();
    await this.more(generation);
  }

  /** Loads one more page of each family. */
  more(generation = this._generation) {
    this._loading ??= this._more(generation).finally(() => (this._loading = null));
    return this._loading;
  }

  async _more(generation) {
    try {
      await Promise.all(FAMILIES.map((family) => this._page(family, generation)));
      if (generation === this._generation) this.state = "ready";
    } catch (error) {
      if (generation === this._generation) this.state = error.message;
    }
    this._changed();
  }

  async _page(family, generation) {
    const page = this._pages.get(family.name);
    if (page.done || (this.filter.family && this.filter.family !== family.name)) {
      page.done = true;
      return;
    }
    const status = this.filter.status ? `&status=${this.filter.status}` : "";
    const cursor = page.cursor ? `&cursor=${encodeURIComponent(page.cursor)}` : "";
    const answer = await get(`${family.path}?limit=${PAGE}${status}${cursor}`);
    if (generation !== this._generation) return;
    for (const run of answer[family.items]) this.put(run);
    page.cursor = answer.next_cursor;
    page.oldest = answer[family.items].at(-1)?.created_at ?? page.oldest;
    page.done = !answer.next_cursor;
    page.total = answer.total;
    page.isAtLeast = answer.total_is_at_least;
  }

  /** Takes a run as the API shows it. */
  put(run) {
    const shown = summary(run);
    const known = this.byId.get(shown.id);
    this.byId.set(shown.id, known && !TERMINAL.has(shown.status) ? { ...shown, progress: shown.progress ?? known.progress } : shown);
  }

  _onEvent(event) {
    const known = this.byId.get(event.run_uuid);
    if (event.run) this.put(event.run);
    else if (!known) this._fetch(event.run_uuid);
    else {
      known.status = event.status;
      known.progress = event.detail?.progress ?? known.progress;
      known.waitingFor = event.type === "run.retrying" ? event.detail.reason : null;
    }
    this._changed();
  }

  async _fetch(id) {
    const run = await request("GET", `/llm_user_runs/${id}`).catch(() => null);
    if (run) this.put(run);
    this._changed();
  }

  /** Whether older runs are left on the server. */
  get hasMore() {
    return [...this._pages.values()].some((page) => !page.done);
  }

  /** How many runs the server has, such as "1,234"; a count that it ended early has a plus: "10,000+". */
  get total() {
    const pages = [...this._pages.values()];
    const total = pages.reduce((sum, page) => sum + page.total, 0);
    return `${total.toLocaleString("en")}${pages.some((page) => page.isAtLeast) ? "+" : ""}`;
  }

  /**
   * Returns the runs to show, open ones first, then the newest. Runs older than what all families have loaded wait,
   * so that nothing is put between runs that were shown already.
   */
  list() {
    const limits = [...this._pages.values()].filter((page) => !page.done && page.oldest).map((page) => page.oldest);
    const limit = limits.length ? limits.reduce((a, b) => (a > b ? a : b)) : "";
    const { status, family } = this.filter;
    const rows = [...this.byId.values()].filter((run) =>
      (!status || run.status === status)
      && (!family || (family === "user_run") === run.kind.endsWith("_run"))
      && (run.createdAt >= limit || !TERMINAL.has(run.status)));
    const open = (run) => (TERMINAL.has(run.status) ? 0 : 1);
    return rows.sort((a, b) => open(b) - open(a) || (a.createdAt < b.createdAt ? 1 : -1));
  }

  _changed() {
    this._soon ??= requestAnimationFrame(() => {
      this._soon = null;
      this.dispatchEvent(new Event("change"));
    });
  }
}
