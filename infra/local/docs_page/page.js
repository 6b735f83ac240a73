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

/**
 * Fetches like `fetch`, but ends a stream of events after MAX_STREAM_SECONDS.
 * Swagger UI shows a response only when it has ended, and the stream of a channel never ends.
 */
async function fetchWithBoundedStream(url, request) {
  const controller = new AbortController();
  const response = await fetch(url, { ...request, signal: controller.signal });
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    return response;
  }
  const timer = setTimeout(() => controller.abort(), MAX_STREAM_SECONDS * 1000);
  const text = await readUntilEndOrAbort(response.body, controller.signal);
  clearTimeout(timer);
  return new Response(text, { status: response.status, statusText: response.statusText, headers: response.headers });
}

/** Returns the text that arrives until the stream ends or the signal is aborted. */
async function readUntilEndOrAbort(body, signal) {
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
    return `${text}: this page stopped listening after ${MAX_STREAM_SECONDS} seconds; use curl -N to listen for longer\n`;
  }
}
