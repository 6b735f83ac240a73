"""The job done with Flask, Celery and Redis: Flask accepts a run, tasks call the LLM and look again by a countdown.

It runs in the peers' own virtual environment. README.md beside the bench says where each setting comes from.
"""

import json
import os
import time
import uuid
from typing import Any

import redis
import requests
from celery import Celery
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from requests.adapters import HTTPAdapter

REDIS_URL, LLM_URL = os.environ["REDIS_URL"], os.environ["LLM_URL"]
POLL_SECONDS = float(os.environ["POLL_SECONDS"])
THREADS = int(os.environ["WORKER_THREADS"])
MAX_CHARACTERS = 1500
LLM_TIMEOUT_SECONDS = 30

store = redis.Redis.from_url(f"{REDIS_URL}/0", decode_responses=True)
llm = requests.Session()
llm.trust_env = False  # otherwise each request reads the environment and ~/.netrc
llm.mount("http://", HTTPAdapter(pool_maxsize=THREADS))

celery = Celery("runs", broker=f"{REDIS_URL}/1")
celery.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=16,
    worker_disable_rate_limits=True,
    broker_pool_limit=THREADS,
    broker_connection_retry_on_startup=True,
)


@celery.task
def start(run_id: str, text: str) -> None:
    """Submits the run to the LLM and plans the first look at its job."""
    store.hset(run_id, mapping={"status": "processing", "started_at": time.time()})
    body = {"run_uuid": run_id, "input_text": text}
    answer = llm.post(f"{LLM_URL}/jobs", json=body, headers={"Idempotency-Key": run_id}, timeout=LLM_TIMEOUT_SECONDS)
    answer.raise_for_status()
    job_id = answer.json()["job_id"]
    store.hset(run_id, "provider_job_id", job_id)
    check.apply_async((run_id, job_id), countdown=POLL_SECONDS)


@celery.task
def check(run_id: str, job_id: str) -> None:
    """Stores the result of the LLM's job, or plans the next look at it."""
    answer = llm.get(f"{LLM_URL}/jobs/{job_id}", timeout=LLM_TIMEOUT_SECONDS)
    answer.raise_for_status()
    job = answer.json()
    if job["status"] != "finished":
        check.apply_async((run_id, job_id), countdown=POLL_SECONDS)
        return
    result = json.dumps(job["output"])
    store.hset(run_id, mapping={"status": "completed", "completed_at": time.time(), "result": result})


app = Flask(__name__)


@app.post("/llm_user_runs")
def submit() -> ResponseReturnValue:
    body = request.get_json()
    if not isinstance(body, dict) or set(body) != {"input_text"}:
        return jsonify(success=False, error="the body must be an object with input_text"), 400
    text = body["input_text"]
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS:
        return jsonify(success=False, error=f"input_text must have 1 to {MAX_CHARACTERS} characters"), 400
    run_id = str(uuid.uuid4())
    store.hset(run_id, mapping={"status": "pending", "input_text": text, "created_at": time.time()})
    start.delay(run_id, text)
    return jsonify(success=True, run_uuid=run_id, status="pending")


@app.get("/llm_user_runs/<run_id>")
def read(run_id: str) -> ResponseReturnValue:
    run: Any = store.hgetall(run_id)
    if not run:
        return jsonify(success=False, error="there is no such run"), 404
    if "result" in run:
        run["result"] = json.loads(run["result"])
    return jsonify(success=True, run_uuid=run_id, **run)
