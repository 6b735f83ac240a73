/** Talks to the HTTP API with the signed-in user's token: requests, and streams that resume where they stopped. */

/** What the server refused: `message` may be shown, `field` names the field of a form. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.error ?? `The server answered with ${status}.`);
    this.status = status;
    this.code = body.code;
    this.field = body.field;
  }
}

let config = { submits: "", reads: "", listener: false };
let token = async () => null;

/** Sets how requests are signed, and where the functions are when they have addresses of their own. Returns that. */
export async function connect(getToken) {
  token = getToken;
  try {
    config = await (await fetch("/console/config.json")).json();
  } catch {
    // The functions are at the page's own address.
  }
  return config;
}

const SUBMIT_PATHS = ["/llm_user_runs_admin", "/llm_user_runs", "/api/llm/jobs/submit/"];

export function address(path, method = "GET") {
  const isSubmit = method === "POST" && SUBMIT_PATHS.includes(path);
  return (isSubmit ? config.submits : config.reads) + path;
}

/** Returns the JSON of a success. Throws Refused, and TypeError when the server cannot be reached. */
export async function request(method, path, { body, headers = {} } = {}) {
  const response = await fetch(address(path, method), {
    method,
    headers: {
      Accept: "application/json",
      Authorization: `Bearer ${await token()}`,
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

export const get = (path) => request("GET", path);

/**
 * Calls `onEvent({id, type, data})` for each event of a stream until it ends or the signal is aborted, and
 * `onState("live" | "waiting")` as connections come and go. After a lost connection it goes on behind the last event;
 * when that was too long ago, it is as if a connection came anew.
 */
export async function listen(path, { signal, onEvent, onState = () => {} }) {
  let last = null;
  let pause = 1000;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", Authorization: `Bearer ${await token()}` };
      if (last) headers["Last-Event-ID"] = last;
      const response = await fetch(address(path), { headers, signal });
      if (response.status === 204) return;
      if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
      onState("live");
      pause = 1000;
      for await (const event of events(response.body)) {
        if (event.type === "error") break;
        last = event.id ?? last;
        if (event.type === "reset") {
          onState("waiting");
          onState("live");
          continue;
        }
        onEvent(event);
        if (path.includes("/llm_user_runs/") && ENDS.has(event.type)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status < 500 && error.status !== 429) throw error;
    }
    onState("waiting");
    await new Promise((resolve) => setTimeout(resolve, pause + Math.random() * 500));
    pause = Math.min(pause * 2, 15000);
  }
}

export const ENDS = new Set(["run.completed", "run.failed", "run.cancelled"]);

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const blocks = (rest + part.value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = {};
        for (const line of block.split("\n")) {
          const [, name, value] = line.match(/^(\w+): ?(.*)$/) ?? [];
          if (name) fields[name] = value;
        }
        if (fields.data) yield { id: fields.id, type: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
