/** The form for a new run: a translation or a job, with limits counted while typing and errors at their field. */

import { address, get, request } from "./api.js";
import { fill, h, say } from "./dom.js";

const MAX_TEXT = 1500;
const MAX_JOB_BYTES = 1024 * 1024; // MAX_INPUT_BYTES of the server may differ; then its refusal stands at the field
const SUBMITS = { admin: "/llm_user_runs_admin", user: "/llm_user_runs", job: "/api/llm/jobs/submit/" };
const JOB_TYPES = ["general_llm_request", "review_colab", "trainer_question_analysis"];
let draft = null;

/** Opens the form with the values of an earlier run. */
export function keepDraft(run) {
  draft = run;
}

export async function newView(main, user, runs) {
  const from = draft;
  draft = null;
  const models = await get("/api/llm/models/").then((answer) => answer.models.filter((model) => model.enabled), () => []);
  const kinds = [...(user.groups.includes("users") ? [["admin", "Translate with languages"]] : []), ["user", "Translate for my organization"], ["job", "Job"]];
  let kind = from?.kind === "job" ? "job" : from?.kind === "user_run" ? "user" : kinds[0][0];
  const form = h("form", { class: "new", novalidate: true, onsubmit: submit });
  fill(main, h("h1", {}, from ? "Run again" : "New run"), form);
  draw();

  function draw() {
    fill(form,
      h("fieldset", { class: "tabs" }, h("legend", {}, "What"), kinds.map(([value, text]) =>
        h("label", {}, h("input", { type: "radio", name: "what", value, checked: value === kind, onchange: () => ((kind = value), draw()) }), text))),
      ...(kind === "job" ? jobFields() : translationFields()),
      h("p", { class: "error", id: "error-form", role: "alert" }),
      h("div", { class: "actions" },
        h("button", { class: "primary", type: "submit" }, "Submit"),
        h("button", { type: "button", onclick: copy }, "Copy as curl")));
  }

  function translationFields() {
    const name = kind === "admin" ? "text" : "input_text";
    return [
      textArea(name, "Text", { max: MAX_TEXT, value: from?.input_text ?? "" }),
      ...(kind === "admin"
        ? [h("div", { class: "pair" },
            input("source_lang", "From", { value: from?.source_lang ?? "en", hint: "such as en or pt-BR" }),
            input("target_lang", "To", { value: from?.target_lang ?? "de" })),
          input("style_guide", "Style guide", { hint: "optional" }), input("channel", "Channel", { hint: "optional; user:you by default" })]
        : [input("end_client_id", "End client", { hint: "optional" })]),
      from && from.kind !== "job" ? input("prior_run_uuid", "Repeats the run", { value: from.run_uuid }) : null,
    ];
  }

  function jobFields() {
    return [
      field("model_id", "Model", h("select", { name: "model_id", id: "model_id" }, models.map((model) => h("option", { value: model.id, selected: model.id === from?.model?.id }, `${model.name} (${model.provider})`)))),
      field("job_type", "Type", h("select", { name: "job_type", id: "job_type" }, JOB_TYPES.map((type) => h("option", { value: type, selected: type === from?.job_type }, type.replaceAll("_", " "))))),
      textArea("system_message", "Instructions", { rows: 2 }),
      textArea("full_input", "Input", { rows: 8, maxBytes: MAX_JOB_BYTES, value: from?.kind === "job" ? from.input_text : "" }),
      field("notebook", "or a notebook (.ipynb)", h("input", { type: "file", name: "notebook", id: "notebook", accept: ".ipynb,application/json" })),
    ];
  }

  async function body() {
    const values = Object.fromEntries([...new FormData(form)].filter(([name, value]) => name !== "what" && value !== ""));
    if (kind !== "job") return values;
    const { model_id, job_type, system_message, full_input, notebook } = values;
    const input = system_message ? { [job_type === "review_colab" ? "instructions" : "system_message"]: system_message } : {};
    if (notebook?.size) return { model_id, job_type: "review_colab", input_data: { ...input, notebook: await parsed(notebook) } };
    return { model_id, job_type, input_data: { ...input, full_input } };
  }

  async function submit(event) {
    event.preventDefault();
    for (const error of form.querySelectorAll(".error")) error.textContent = "";
    for (const wrong of form.querySelectorAll("[aria-invalid]")) wrong.removeAttribute("aria-invalid");
    const button = form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      const answer = await request("POST", SUBMITS[kind], { body: await body() });
      const run = await get(`/llm_user_runs/${answer.job_id}`).catch(() => null);
      if (run) runs.put(run);
      location.hash = `#/runs/${answer.job_id}`;
    } catch (error) {
      show(error);
    } finally {
      button.disabled = false;
    }
  }

  /** Shows the server's sentence at its field, or below the form. */
  function show(error) {
    const place = error.field && document.getElementById(`error-${error.field}`);
    (place || document.getElementById("error-form")).textContent = error.message;
    const wrong = place && document.getElementById(error.field);
    wrong?.setAttribute("aria-invalid", "true");
    wrong?.focus();
  }

  async function copy() {
    const url = new URL(address(SUBMITS[kind], "POST"), location.href);
    const data = JSON.stringify(await body()).replaceAll("'", "'\\''");
    const command = `curl ${url} -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -H 'Accept: application/json' \\\n  -d '${data}'`;
    await navigator.clipboard.writeText(command).then(() => say("Copied. Set TOKEN to a token of yours."), () => say("The browser did not allow the copy."));
  }
}

async function parsed(file) {
  try {
    return JSON.parse(await file.text());
  } catch {
    throw Object.assign(new Error("This file is not a notebook: it is not JSON."), { field: "notebook" });
  }
}

function field(name, label, control, hint) {
  control.setAttribute("aria-describedby", `error-${name}`);
  return h("div", { class: "field" }, h("label", { for: name }, label, hint ? h("small", {}, ` ${hint}`) : null), control, h("p", { class: "error", id: `error-${name}` }));
}

function input(name, label, { value = "", hint } = {}) {
  return field(name, label, h("input", { name, id: name, value, autocomplete: "off", spellcheck: "false" }), hint);
}

function textArea(name, label, { value = "", rows = 6, max, maxBytes } = {}) {
  const count = h("span", { class: "count", "aria-live": "off" });
  const update = () => {
    const length = maxBytes ? new Blob([area.value]).size : [...area.value].length;
    const most = max ?? maxBytes;
    if (!most) return;
    count.textContent = maxBytes ? `${Math.ceil(length / 1024)} of ${maxBytes / 1024} KiB` : `${length} of ${max}`;
    count.classList.toggle("over", length > most);
  };
  const area = h("textarea", { name, id: name, rows, value, oninput: update });
  update();
  const whole = field(name, label, area);
  whole.append(count);
  return whole;
}
