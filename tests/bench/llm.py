"""The cheapest LLM there can be: takes a job, finishes it a second later, counts what it is asked."""

import json
import os
import sys
import time
import uuid

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SECONDS = float(os.environ.get("LLM_SECONDS", "1"))
finish_times: dict[str, float] = {}
by_key: dict[str, str] = {}
run_ids: dict[str, str] = {}
"""Of each job the run that it was posted for."""
read_to_the_end: set[str] = set()
"""Jobs whose end a client has been told."""
counts = {"posts": 0, "gets": 0, "duplicates": 0}


async def submit(request: Request) -> Response:
    body = json.loads(await request.body())
    counts["posts"] += 1
    key = request.headers["idempotency-key"]
    counts["duplicates"] += key in by_key
    job_id = by_key.setdefault(key, uuid.uuid4().hex)
    run_ids[job_id] = body["run_uuid"]
    finish_times.setdefault(job_id, time.time() + SECONDS)
    return JSONResponse({"job_id": job_id, "status": "queued"}, status_code=202)


async def check(request: Request) -> Response:
    counts["gets"] += 1
    job_id = request.path_params["job_id"]
    if time.time() < finish_times[job_id]:
        return JSONResponse({"job_id": job_id, "status": "running"})
    read_to_the_end.add(job_id)
    return JSONResponse({"job_id": job_id, "status": "finished", "output": {"text": "ok"}})


async def stats(request: Request) -> Response:
    return JSONResponse({**counts, "ended": len(read_to_the_end)})


async def ends(request: Request) -> Response:
    """Answers with the time at which the job of each run has finished."""
    return JSONResponse({run_ids[job_id]: at for job_id, at in finish_times.items()})


app = Starlette(routes=[
    Route("/jobs", submit, methods=["POST"]),
    Route("/jobs/{job_id}", check),
    Route("/stats", stats),
    Route("/ends", ends),
])  # fmt: skip

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
