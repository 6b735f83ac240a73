"""The job done with Restate: a durable handler calls the LLM, sleeps durably, and looks again until the job has ended.

It runs in the peers' own virtual environment. README.md beside the bench says where each setting comes from.
"""

import os
import time
from datetime import timedelta
from functools import cache
from typing import Any

import restate
from aiohttp import ClientSession, ClientTimeout, TCPConnector

LLM_URL = os.environ["LLM_URL"]
POLL = timedelta(seconds=float(os.environ["POLL_SECONDS"]))
MAX_CHARACTERS = 1500
LLM_CONNECTIONS = 64

runs = restate.Service("Runs")


@cache
def llm() -> ClientSession:
    """Returns the connections to the LLM. They are made on first use, since they belong to a running event loop."""
    return ClientSession(LLM_URL, connector=TCPConnector(limit=LLM_CONNECTIONS), timeout=ClientTimeout(total=30))


async def post_job(run_id: str, text: str) -> str:
    body = {"run_uuid": run_id, "input_text": text}
    async with llm().post("/jobs", json=body, headers={"Idempotency-Key": run_id}) as answer:
        answer.raise_for_status()
        job_id: str = (await answer.json())["job_id"]
        return job_id


async def get_job(job_id: str) -> dict[str, Any]:
    """Returns the LLM's answer, with the time at which it came: a handler that is replayed may not read a clock."""
    async with llm().get(f"/jobs/{job_id}") as answer:
        answer.raise_for_status()
        return {**await answer.json(), "read_at": time.time()}


@runs.handler()
async def run(context: restate.Context, body: dict[str, Any]) -> dict[str, Any]:
    text = body.get("input_text")
    if set(body) != {"input_text"} or not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS:
        raise restate.TerminalError(f"input_text must have 1 to {MAX_CHARACTERS} characters", 400)
    job_id = await context.run_typed("submit", post_job, run_id=context.request().id, text=text)
    while True:
        await context.sleep(POLL)
        job = await context.run_typed("check", get_job, job_id=job_id)
        if job["status"] == "finished":
            return {"status": "completed", "completed_at": job["read_at"], "result": job["output"]}


app = restate.app([runs])
