// Opens /docs in a window, reads it and uses it as a person would, and reports what it showed.
const { token, report } = Object.fromEntries(new URLSearchParams(location.search));
const seen = {};
const docs = window.open("/docs");

/** By the clock of the window in front: those behind it tick once a second. */
function pause(milliseconds) {
  return new Promise((resolve) => docs.setTimeout(resolve, milliseconds));
}

async function until(condition) {
  for (;;) {
    const value = condition();
    if (value) return value;
    await pause(50);
  }
}

const find = (selector, from = docs.document) => from.querySelector(selector);
const all = (selector, from = docs.document) => [...from.querySelectorAll(selector)];
const words = (element) => element.textContent.trim();

async function fill(input, value) {
  const { set } = Object.getOwnPropertyDescriptor(docs.HTMLInputElement.prototype, "value");
  set.call(input, value);
  input.dispatchEvent(new docs.Event("input", { bubbles: true }));
  await pause(600); // Swagger UI takes a value over a little later
}

async function open(block) {
  find(".opblock-summary-control", block).click();
  await until(() => find(".responses-table .response", block));
}

async function close(block) {
  find(".opblock-summary-control", block).click();
  await until(() => !find(".responses-table", block));
}

/** One open operation at a time: Swagger UI draws all that are open anew with every change. */
async function readOperation(block) {
  await open(block);
  const read = {
    parameters: all("tr[data-param-name]", block).map((row) => row.dataset.paramName),
    body: find(".opblock-section-request-body", block) !== null,
    statuses: all(".responses-table:not(.live-responses-table) tr.response", block).map((row) => row.dataset.code),
  };
  await close(block);
  return read;
}

async function authorize() {
  find(".auth-wrapper .authorize").click();
  await fill(await until(() => find(".dialog-ux input[type=text]")), token);
  find(".dialog-ux .authorize").click();
  await until(() => [...all(".dialog-ux button")].some((button) => words(button) === "Logout"));
  find(".dialog-ux .btn-done").click();
}

async function answerOf(operation, fields = {}) {
  const block = find(`[id$="-${operation}"].opblock`);
  await open(block);
  for (const [name, value] of Object.entries(fields)) {
    await fill(find(`tr[data-param-name="${name}"] input`, block), value);
  }
  find("button.execute", block).click();
  const shown = await until(() => find(".live-responses-table .response .highlight-code", block));
  const answer = {
    status: words(find(".live-responses-table .response .response-col_status", block)),
    body: words(find("code", shown)),
  };
  await close(block);
  return answer;
}

try {
  const blocks = await until(() => docs.document.readyState === "complete" && all(".opblock").length && all(".opblock"));
  seen.operations = {};
  for (const block of blocks) {
    seen.operations[block.id.split("-").at(-1)] = await readOperation(block);
  }
  seen.stranger = await answerOf("list_jobs");
  await authorize();
  seen.submitted = await answerOf("submit_user_run");
  const { run_uuid } = JSON.parse(seen.submitted.body);
  seen.run = await answerOf("get_user_run", { run_uuid, Prefer: "wait=20" });
  seen.stream = await answerOf("stream_user_run", { run_uuid });
  seen.missing = await answerOf("get_job_status", { job_id: "00000000-0000-4000-8000-000000000000" });
  seen.channel = await answerOf("stream_channel", { channel: "user:demo" });
  const image = Object.assign(docs.document.createElement("img"), { src: "http://elsewhere.test/pixel.png" });
  docs.document.body.append(image);
  await new Promise((resolve) => image.addEventListener("error", resolve));
} catch (error) {
  seen.thrown = String(error.stack);
}
await fetch(report, { method: "POST", mode: "no-cors", body: JSON.stringify(seen) });
