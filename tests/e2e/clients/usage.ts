/** Uses the generated client as a front end would, and prints what it saw as JSON. Compiles only if the types are right. */

import { createLlmRunsClient, type Schemas } from "llm-runs-client";

declare const process: { argv: string[] };
const [, , baseUrl = "", token = ""] = process.argv;
const runs = createLlmRunsClient({ baseUrl, token });

async function complete(job_id: string): Promise<Schemas["JobAnswer"]> {
  for (;;) {
    const { data, error } = await runs.GET("/api/llm/jobs/{job_id}/status/", {
      params: { path: { job_id }, header: { Prefer: "wait=10" } },
    });
    if (error) throw new Error(error.code);
    if (data.is_complete) return data;
  }
}

async function submitted(model_id: string): Promise<Schemas["JobReceipt"] | Schemas["InvalidRequestError"]> {
  const { data, error } = await runs.POST("/api/llm/jobs/submit/", {
    body: { job_type: "general_llm_request", model_id, input_data: { full_input: "hello" } },
  });
  if (data) return data;
  if (error.code === "invalid_request") return error;
  throw new Error(error.error);
}

async function followed(): Promise<string> {
  const { data } = await runs.POST("/llm_user_runs", { body: { input_text: "hello" } });
  if (typeof data !== "object") throw new Error("a stream, though none was asked for");
  const { data: updates } = await runs.GET("/llm_user_runs/{run_uuid}/stream", {
    params: { path: { run_uuid: data.run_uuid } },
    parseAs: "text",
  });
  return updates ?? "";
}

const receipt = await submitted("demo-model");
if (!receipt.success) throw new Error(receipt.error);
const status = await complete(receipt.job_id);
const result = await runs.GET("/api/llm/jobs/{job_id}/result/", { params: { path: { job_id: receipt.job_id } } });
const refusal = await submitted("no-such-model");
const nobody = "00000000-0000-4000-8000-000000000000";
const missing = await runs.GET("/llm_user_runs/{run_uuid}", { params: { path: { run_uuid: nobody } } });

console.log(
  JSON.stringify({
    status: status.status satisfies Schemas["Status"],
    result: result.data?.result_data.result,
    refusal: !refusal.success && [refusal.code satisfies "invalid_request", refusal.field],
    missing: missing.error?.code,
    updates: await followed(),
  }),
);

// @ts-expect-error a job needs its input
void (() => runs.POST("/api/llm/jobs/submit/", { body: { job_type: "general_llm_request", model_id: "demo-model" } }));
// @ts-expect-error there is no such job type
export const unknown_type: Schemas["JobType"] = "poem";
