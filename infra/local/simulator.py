"""Simulates LLMs for trials and tests: an HTTP server of both protocols. Markers in a text cause failures on purpose.

A text with `[[slow 20]]` takes 20 seconds, and one with `[[never]]` never ends. `[[fail]]` makes the job fail and
`[[refuse]]` makes the server refuse it. `[[rate-limit]]` is answered with 429 at the first two tries, and `[[garbage]]`
with a page that is not JSON; simulated_streams.py has more. Chat models translate `[[bad-translation]]` with faults at
first. Jobs survive a killed process: each is a line of a file, and its state follows from the time in that line.

    python -m infra.local.simulator --host 127.0.0.1:8090 [--file simulator.jsonl] [--seconds 2]
"""

import argparse
import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from infra.local.ledger import Ledger
from infra.local.simulated_batches import SimulatedBatches
from infra.local.simulated_jobs import Job, Jobs
from infra.local.simulated_streams import stream_completion, stream_message
from infra.local.simulated_vendors import (
    anthropic_error,
    completion,
    message_object,
    openai_error,
    response_object,
)
from infra.local.translation import translate

RATE_LIMITED_TRIES = 2
NEVER_SECONDS = 1e12
"""The duration of a job that never ends."""
Handler = Callable[[Request], Awaitable[Response]]


class Simulator:
    """The simulated LLM. All protocols read the markers of a text."""

    def __init__(self, *, seconds: float = 2.0, path: Path | None = None, reports_progress: bool = True) -> None:
        """`seconds` is the duration of a job unless its text has a marker; `path` is the file that keeps the jobs."""
        self.jobs = Jobs(path)
        self.jobs.load()
        self._seconds = seconds
        self._reports_progress = reports_progress
        self._checks = 0
        self._chat_calls: Counter[str] = Counter()
        self._ledger = Ledger(self.jobs, self._state)

    def app(self) -> ASGIApp:
        """Returns the ASGI app. It serves each route at the root and below the name of any deployment."""
        routes: list[tuple[str, Handler, str]] = [
            ("/jobs", self._submit, "POST"),
            ("/jobs/{job_id}", self._check, "GET"),
            ("/jobs/{job_id}/cancel", self._cancel, "POST"),
            ("/v1/chat/completions", self._chat, "POST"),
            ("/v1/messages", self._message, "POST"),
            ("/v1/responses", self._create_response, "POST"),
            ("/v1/responses/{job_id}", self._retrieve_response, "GET"),
            ("/v1/responses/{job_id}/cancel", self._cancel_response, "POST"),
            *SimulatedBatches(self.jobs, self._state).routes(),
        ]
        protocol_routes = [
            Route(prefix + path, handler, methods=[method])
            for prefix in ("", "/{deployment}")
            for path, handler, method in routes
        ]
        own_routes = [Route("/stats", self._stats), Route("/ledger", self._show_ledger)]
        return self._ledger.watch(Starlette(routes=[*own_routes, *protocol_routes]))

    async def _submit(self, request: Request) -> Response:
        body = await request.json()
        text = str(body.get("input_text") or "")
        key = request.headers.get("idempotency-key") or sha256(f"{time.time_ns()}".encode()).hexdigest()
        if "[[refuse]]" in text:
            return openai_error(422, "refused", "this text is not translated here")
        if _is_rate_limited(text, self.jobs.submits[key]):
            self.jobs.write(key=key, body=None, at=time.time(), action="refused")
            return openai_error(429, "rate_limited", "too many requests", retry_after=1)
        self.jobs.write(key=key, body=body, at=time.time(), traceparent=request.headers.get("traceparent"))
        job = self.jobs.by_key[key]
        is_new = self.jobs.submits[key] == 1
        return JSONResponse({"job_id": job.job_id, "status": "queued" if is_new else "running"}, 202 if is_new else 200)

    async def _check(self, request: Request) -> Response:
        self._checks += 1
        job = self.jobs.by_id.get(request.path_params["job_id"])
        if job is None:
            return openai_error(404, "not_found", "no such job")
        if "[[garbage]]" in job.text:
            return Response("<html>502 bad luck</html>", media_type="text/html")
        return JSONResponse({"job_id": job.job_id, **self._state(job)})

    async def _cancel(self, request: Request) -> Response:
        job = self.jobs.by_id.get(request.path_params["job_id"])
        if job is None:
            return openai_error(404, "not_found", "no such job")
        if self._state(job)["status"] == "running":
            self.jobs.write(key=job.job_id, body=None, at=time.time(), action="cancel")
        return JSONResponse({"job_id": job.job_id, **self._state(job)})

    def _state(self, job: Job) -> dict[str, Any]:
        """Returns {status, progress?, eta_seconds?, output?, usage?, error?, finished_at?} as the job API shows it."""
        seconds, waited = _duration(job.text, self._seconds), time.time() - job.created_at
        if job.cancelled:
            return {"status": "cancelled"}
        if waited < seconds and not self._reports_progress:
            return {"status": "running"}
        if waited < seconds:
            if seconds == NEVER_SECONDS:
                return {"status": "running", "progress": 0.01}
            eta = round(seconds - waited, 3)
            return {"status": "running", "progress": round(waited / seconds, 2), "eta_seconds": eta}
        if "[[fail]]" in job.text:
            return {"status": "failed", "error": {"code": "internal", "message": "the model gave up"}}
        output = translate(job.text, target_lang=job.body.get("target_lang"))
        usage = {"input_tokens": len(job.text) // 4 + 1, "output_tokens": len(output["text"]) // 4 + 1}
        return {"status": "finished", "output": output, "usage": usage, "finished_at": job.created_at + seconds}

    async def _create_response(self, request: Request) -> Response:
        """OpenAI has no idempotency keys: each call creates a response of its own."""
        body = await request.json()
        text = "\n\n".join(filter(None, [body.get("instructions"), str(body.get("input") or "")]))
        self._chat_calls[text] += 1
        if _is_rate_limited(text, self._chat_calls[text] - 1):
            return openai_error(429, "rate_limit_exceeded", "too many requests", retry_after=1)
        job = {"input_text": text, "run_uuid": (body.get("metadata") or {}).get("run_id"), "model": body.get("model")}
        key = f"response-{uuid4()}"
        traceparent = request.headers.get("traceparent")
        self.jobs.write(key=key, body=job, at=time.time(), traceparent=traceparent)
        return self._response(self.jobs.by_key[key])

    async def _retrieve_response(self, request: Request) -> Response:
        self._checks += 1
        job = self.jobs.by_id.get(request.path_params["job_id"].removeprefix("resp_"))
        if job is None:
            return openai_error(404, "not_found", "no such response")
        if "[[garbage]]" in job.text:
            return Response("<html>502 bad luck</html>", media_type="text/html")
        return self._response(job)

    async def _cancel_response(self, request: Request) -> Response:
        job = self.jobs.by_id.get(request.path_params["job_id"].removeprefix("resp_"))
        if job is None:
            return openai_error(404, "not_found", "no such response")
        if self._state(job)["status"] == "running":
            self.jobs.write(key=job.job_id, body=None, at=time.time(), action="cancel")
        return self._response(job)

    def _response(self, job: Job) -> Response:
        state = self._state(job)
        return JSONResponse(response_object(job.job_id, str(job.body.get("model")), job.text, job.created_at, state))

    async def _message(self, request: Request) -> Response:
        body = await request.json()
        texts = [body.get("system"), *(message.get("content") for message in body.get("messages", []))]
        text = "\n\n".join(str(part) for part in texts if part)
        self._chat_calls[text] += 1
        if "[[fail]]" in text:
            return anthropic_error(400, "invalid_request_error", "the model gave up")
        if _is_rate_limited(text, self._chat_calls[text] - 1):
            return anthropic_error(429, "rate_limit_error", "too many requests", retry_after=1)
        message, seconds = message_object(str(body.get("model")), text), _duration(text, self._seconds)
        if body.get("stream"):
            return stream_message(message, text, seconds=seconds)
        if "[[garbage]]" in text:
            return Response("<html>502 bad luck</html>", media_type="text/html")
        await asyncio.sleep(min(seconds, 86400))
        return JSONResponse(message)

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        text = "\n\n".join(str(message.get("content")) for message in body.get("messages", []))
        self._chat_calls[text] += 1
        if "[[refuse]]" in text:
            return openai_error(422, "content_filter", "this text is not answered here")
        if "[[fail]]" in text:
            return openai_error(400, "internal", "the model gave up")
        if _is_rate_limited(text, self._chat_calls[text] - 1):
            return openai_error(429, "rate_limited", "too many requests", retry_after=1)
        answer, seconds = completion(str(body.get("model")), text), _duration(text, self._seconds)
        if body.get("stream"):
            return stream_completion(answer, text, seconds=seconds, options=body.get("stream_options"))
        if "[[garbage]]" in text:
            return Response("<html>502 bad luck</html>", media_type="text/html")
        await asyncio.sleep(min(seconds, 86400))
        return JSONResponse(answer)

    async def _show_ledger(self, request: Request) -> Response:
        charges = self._ledger.charges()
        return JSONResponse({"charges": charges, "total_usd": round(sum(charge["cost_usd"] for charge in charges), 9)})

    async def _stats(self, request: Request) -> Response:
        finish_times = {job.job_id: job.created_at + self._seconds for job in self.jobs.by_id.values()}
        counts = {"posts": self.jobs.submits.total(), "gets": self._checks, "jobs": len(self.jobs.by_id)}
        duplicates = sum(count - 1 for key, count in self.jobs.submits.items() if key in self.jobs.by_key)
        runs = Counter(str(job.body.get("run_uuid")) for job in self.jobs.by_id.values())
        return JSONResponse({**counts, "duplicates": duplicates, "jobs_per_run": runs, "finish_times": finish_times})


def _is_rate_limited(text: str, earlier_tries: int) -> bool:
    return "[[rate-limit]]" in text and earlier_tries < RATE_LIMITED_TRIES


def _duration(text: str, default: float) -> float:
    """Returns the seconds that a job with this text takes."""
    if "[[never]]" in text:
        return NEVER_SECONDS
    slow = re.search(r"\[\[slow (\d{1,6})\]\]", text)
    return float(slow[1]) if slow else default


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulates an LLM.")
    parser.add_argument("--host", default="127.0.0.1:8090")
    parser.add_argument("--file", type=Path, help="the file that keeps the jobs")
    parser.add_argument("--seconds", type=float, default=2.0, help="the duration of a job")
    parser.add_argument("--silent", action="store_true", help="reports no progress")
    options = parser.parse_args()
    host, _, port = options.host.partition(":")
    simulator = Simulator(seconds=options.seconds, path=options.file, reports_progress=not options.silent)
    uvicorn.run(simulator.app(), host=host, port=int(port), log_level="error", lifespan="off")


if __name__ == "__main__":
    main()
