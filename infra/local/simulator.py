"""Simulates LLMs for trials and tests: an HTTP server of both protocols. Markers in a text cause failures on purpose.

A text with `[[slow 20]]` takes 20 seconds, and one with `[[never]]` never ends. `[[fail]]` makes the job fail and
`[[refuse]]` makes the server refuse it. `[[garbage]]` is answered with a page that is not JSON. `[[rate-limit]]` is
refused at the first two tries and `[[overloaded]]` at the first one; `[[quota]]`, `[[too-long]]`, `[[bad-key]]` and
`[[model-gone]]` are refused for good. simulated_errors.py has the vendors' responses; simulated_streams.py has markers
of streams. Chat models translate `[[bad-translation]]` with faults at first. `[[cut-off]]` is answered by the half, as
when the model has reached its token limit. Jobs survive a killed process: each is a line of a file, and its state
follows from the time in that line.

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
from infra.local.simulated_errors import CHAT, JOBS, MESSAGES, RESPONSES, error_for, job_error, openai_error
from infra.local.simulated_jobs import Job, Jobs
from infra.local.simulated_response_stream import stream_response
from infra.local.simulated_streams import stream_completion, stream_message
from infra.local.simulated_vendors import answer_to, completion, message_object, response_object
from infra.local.translation import translate

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
        self._tries: Counter[tuple[str, str]] = Counter()
        """How often each protocol was asked each text."""
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
        error = error_for(text, JOBS, earlier_tries=self.jobs.submits[key])
        if error is not None:
            self.jobs.write(key=key, body=None, at=time.time(), action="refused")
            return error.response()
        self.jobs.write(key=key, body=body, at=time.time(), traceparent=request.headers.get("traceparent"))
        job = self.jobs.by_key[key]
        is_new = self.jobs.submits[key] == 1
        return JSONResponse({"job_id": job.job_id, "status": "queued" if is_new else "running"}, 202 if is_new else 200)

    async def _check(self, request: Request) -> Response:
        self._checks += 1
        job = self.jobs.by_id.get(request.path_params["job_id"])
        if job is None:
            return job_error(404, "not_found", "no such job").response()
        if "[[garbage]]" in job.text:
            return Response("<html>502 bad luck</html>", media_type="text/html")
        return JSONResponse({"job_id": job.job_id, **self._state(job)})

    async def _cancel(self, request: Request) -> Response:
        job = self.jobs.by_id.get(request.path_params["job_id"])
        if job is None:
            return job_error(404, "not_found", "no such job").response()
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

    def _count_try(self, protocol: str, text: str) -> int:
        """Counts this try and returns how many there were before."""
        self._tries[protocol, text] += 1
        return self._tries[protocol, text] - 1

    async def _create_response(self, request: Request) -> Response:
        """OpenAI has no idempotency keys: each call creates a response of its own."""
        body = await request.json()
        text = "\n\n".join(filter(None, [body.get("instructions"), str(body.get("input") or "")]))
        error = error_for(text, RESPONSES, earlier_tries=self._count_try("RESPONSES", text))
        if error is not None:
            return error.response()
        job = {"input_text": text, "run_uuid": (body.get("metadata") or {}).get("run_id"), "model": body.get("model")}
        key = f"response-{uuid4()}"
        traceparent = request.headers.get("traceparent")
        self.jobs.write(key=key, body=job, at=time.time(), traceparent=traceparent)
        created = self.jobs.by_key[key]
        return self._streamed_response(created, starting_after=-1) if body.get("stream") else self._response(created)

    async def _retrieve_response(self, request: Request) -> Response:
        self._checks += 1
        job = self.jobs.by_id.get(request.path_params["job_id"].removeprefix("resp_"))
        if job is None:
            return _no_such_response(request)
        if "[[garbage]]" in job.text:
            return Response("<html>502 bad luck</html>", media_type="text/html")
        if request.query_params.get("stream") == "true":
            starting_after = int(request.query_params.get("starting_after", "-1"))
            return self._streamed_response(job, starting_after=starting_after)
        return self._response(job)

    async def _cancel_response(self, request: Request) -> Response:
        job = self.jobs.by_id.get(request.path_params["job_id"].removeprefix("resp_"))
        if job is None:
            return _no_such_response(request)
        if self._state(job)["status"] == "running":
            self.jobs.write(key=job.job_id, body=None, at=time.time(), action="cancel")
        return self._response(job)

    def _response(self, job: Job) -> Response:
        return JSONResponse(self._response_object(job))

    def _response_object(self, job: Job) -> dict[str, Any]:
        state = self._state(job)
        return response_object(job.job_id, str(job.body.get("model")), job.text, job.created_at, state)

    def _streamed_response(self, job: Job, *, starting_after: int) -> Response:
        def progress() -> float | None:
            state = self._state(job)
            return float(state.get("progress", 0)) if state["status"] == "running" else None

        return stream_response(
            answer_to(job.text), lambda: self._response_object(job), progress, starting_after=starting_after
        )

    async def _message(self, request: Request) -> Response:
        body = await request.json()
        texts = [body.get("system"), *(message.get("content") for message in body.get("messages", []))]
        text = "\n\n".join(str(part) for part in texts if part)
        error = error_for(text, MESSAGES, earlier_tries=self._count_try("MESSAGES", text))
        if error is not None:
            return error.response()
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
        error = error_for(text, CHAT, earlier_tries=self._count_try("CHAT", text))
        if error is not None:
            return error.response()
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


def _no_such_response(request: Request) -> Response:
    return openai_error(404, f"Response with id '{request.path_params['job_id']}' not found.").response()


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
