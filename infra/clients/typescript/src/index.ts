/** A client of the LLM Runs API, typed by its OpenAPI document. */

import createClient, { type Client, type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./api.js";

export type { components, operations, paths } from "./api.js";

/** Every schema of the document by its name, such as Schemas["UserRun"]. */
export type Schemas = components["schemas"];

export interface LlmRunsOptions extends ClientOptions {
  /** Where the API is, such as https://runs.example.com. */
  baseUrl: string;
  /** A bearer token; pages with a session leave it out. */
  token?: string;
}

/**
 * Makes a client whose calls resolve to `{data}` or to `{error}`, typed for each operation; decide by `error.code`.
 * A stream of updates is read with `parseAs: "stream"`.
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
