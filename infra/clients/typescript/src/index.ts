/** A client of the LLM Runs API, typed by its OpenAPI document. */

import createClient, { type Client, type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./api.js";

export type { components, operations, paths } from "./api.js";

/** All schemas of the document by name, such as Schemas["UserRun"]. */
export type Schemas = components["schemas"];

export interface LlmRunsOptions extends ClientOptions {
  /** The URL of the service, such as https://runs.example.com. */
  baseUrl: string;
  /** A bearer token. A page that has a session cookie omits it. */
  token?: string;
}

/**
 * Returns a client. Each call resolves to `{data}` or `{error}`, typed for its operation; `error.code` tells what failed.
 * Pass `parseAs: "stream"` to read a stream of updates.
 */
export function createLlmRunsClient({ token, ...options }: LlmRunsOptions): Client<paths> {
  const client = createClient<paths>(options);
  if (token !== undefined) {
    client.use({
      onRequest({ request }) {
        request.headers.set("Authorization", `Bearer ${token}`);
      },
    });
  }
  return client;
}
