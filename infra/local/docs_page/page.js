/* Shows /openapi.json with Swagger UI. */

const MAX_STREAM_SECONDS = 10;

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
  requestInterceptor: (request) => ({ ...request, userFetch: fetchWithBoundedStream }),
});

/** Swagger UI shows an answer when it has ended; the stream of a channel never does. */
async function fetchWithBoundedStream(url, request) {
  const hangUp = new AbortController();
  const answer = await fetch(url, { ...request, signal: hangUp.signal });
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    return answer;
  }
  const timer = setTimeout(() => hangUp.abort(), MAX_STREAM_SECONDS * 1000);
  const text = await textUntilTheEnd(answer.body, hangUp.signal);
  clearTimeout(timer);
  return new Response(text, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
}

/** Returns what came until the stream ended or the signal was aborted. */
async function textUntilTheEnd(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += part.value;
    }
    return text;
  } catch (error) {
    if (!signal.aborted) {
      throw error;
    }
    return `${text}: this page stopped listening after ${MAX_STREAM_SECONDS} seconds; curl -N goes on\n`;
  }
}
