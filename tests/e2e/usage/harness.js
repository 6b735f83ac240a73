// Signs in, runs a documented usage pattern word for word, and reports what it wrote to the console.
const { token, pattern, report } = Object.fromEntries(new URLSearchParams(location.search));
const told = [];
const tell = (kind) => (...words) => told.push([kind, ...words]);
const AsyncFunction = (async () => {}).constructor;

async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 100));
}

async function json(url, options) {
  return (await fetch(url, options)).json();
}

try {
  const session = await json("/api/auth/session/", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  const { csrf_token } = await json("/api/auth/csrf/");
  globalThis.getCsrfToken = () => csrf_token;
  console.log = tell("log");
  console.error = tell("error");
  const later = (jobId) => until(async () => (await json(`/api/llm/jobs/${jobId}/status/`)).is_complete);
  const source = await (await fetch(`/${pattern}.js`)).text();
  await new AsyncFunction("later", source.replace("// 2. Later", "await later(jobId);\n// 2. Later"))(later);
  await until(() => told.length > 0);
  tell("session")(session.success, document.cookie);
} catch (error) {
  tell("thrown")(String(error));
}
await fetch(report, { method: "POST", mode: "no-cors", body: JSON.stringify(told) });
