"""Simulates the batch APIs of OpenAI and Anthropic, with the markers of the simulator.

Each batch has one request, as ours have. A batch is a job of the simulator, so it outlives a killed process; an
uploaded file that no batch uses yet does not.
"""

import json
import time
from collections.abc import Callable
from email import message_from_bytes
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.simulated_vendors import anthropic_error, message_object, openai_error, response_object

if TYPE_CHECKING:
    from infra.local.simulated_jobs import Job, Jobs
    from infra.local.simulator import Handler


class SimulatedBatches:
    """`state` returns {status, …} of a job, as the simulator's job API shows it."""

    def __init__(self, jobs: "Jobs", state: Callable[["Job"], dict[str, Any]]) -> None:
        self._jobs = jobs
        self._state = state
        self._uploads: dict[str, dict[str, Any]] = {}
        """{file id: the request in it}"""
        self._tries: dict[str, int] = {}

    def routes(self) -> "list[tuple[str, Handler, str]]":
        return [
            ("/v1/files", self._upload, "POST"),
            ("/v1/files/{file_id}/content", self._content, "GET"),
            ("/v1/batches", self._create_openai, "POST"),
            ("/v1/batches", self._list_openai, "GET"),
            ("/v1/batches/{batch_id}", self._retrieve_openai, "GET"),
            ("/v1/batches/{batch_id}/cancel", self._cancel_openai, "POST"),
            ("/v1/messages/batches", self._create_anthropic, "POST"),
            ("/v1/messages/batches/{batch_id}", self._retrieve_anthropic, "GET"),
            ("/v1/messages/batches/{batch_id}/cancel", self._cancel_anthropic, "POST"),
            ("/v1/messages/batches/{batch_id}/results", self._results_of_anthropic, "GET"),
        ]

    async def _upload(self, request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + await request.body())
        parts = {part.get_param("name", header="content-disposition"): part for part in form.walk()}
        try:
            line = json.loads(str(parts["file"].get_payload()))
        except (KeyError, ValueError):
            return openai_error(400, "invalid_file", "the file is not one line of JSON")
        file_id = f"file-{uuid4().hex}"
        self._uploads[file_id] = line
        return JSONResponse({"id": file_id, "object": "file", "purpose": "batch"})

    async def _create_openai(self, request: Request) -> Response:
        body = await request.json()
        line = self._uploads.get(str(body.get("input_file_id")))
        if line is None:
            return openai_error(400, "invalid_request", "no such file")
        text = "\n\n".join(filter(None, [line["body"].get("instructions"), str(line["body"].get("input") or "")]))
        if self._is_rate_limited(text):
            return openai_error(429, "rate_limit_exceeded", "too many requests", retry_after=1)
        details = {"custom_id": line["custom_id"], "metadata": body.get("metadata")}
        return JSONResponse(self._openai_batch(self._new_job("openai", text, line["body"], details)))

    async def _list_openai(self, request: Request) -> Response:
        jobs = sorted(self._batches_of("openai"), key=lambda job: (-job.created_at, job.job_id))
        ids = [f"batch_{job.job_id}" for job in jobs]
        after = request.query_params.get("after")
        start = ids.index(after) + 1 if after in ids else 0
        end = start + int(request.query_params.get("limit", "20"))
        page = [self._openai_batch(job) for job in jobs[start:end]]
        return JSONResponse({"object": "list", "data": page, "has_more": end < len(jobs)})

    async def _retrieve_openai(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return openai_error(404, "not_found", "no such batch")
        return _garbage() if "[[garbage]]" in job.text else JSONResponse(self._openai_batch(job))

    async def _cancel_openai(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return openai_error(404, "not_found", "no such batch")
        self._cancel(job)
        return JSONResponse(self._openai_batch(job))

    async def _content(self, request: Request) -> Response:
        job = self._jobs.by_id.get(request.path_params["file_id"].removeprefix("file-out-"))
        if job is None or self._state(job)["status"] != "finished":
            return openai_error(404, "not_found", "no such file")
        answer = response_object(job.job_id, str(job.body["model"]), job.text, job.created_at, self._state(job))
        response = {"status_code": 200, "request_id": f"req_{job.job_id}", "body": answer}
        line = {"id": f"out_{job.job_id}", "custom_id": job.body["custom_id"], "response": response, "error": None}
        return Response(json.dumps(line) + "\n", media_type="application/octet-stream")

    def _openai_batch(self, job: "Job") -> dict[str, Any]:
        status = self._state(job)["status"]
        shown = {"running": "in_progress", "finished": "completed"}.get(status, status)
        error = {"code": "invalid_request", "message": "the model gave up", "param": None, "line": 1}
        return {
            "id": f"batch_{job.job_id}",
            "object": "batch",
            "endpoint": "/v1/responses",
            "errors": {"object": "list", "data": [error]} if status == "failed" else None,
            "input_file_id": "file-in",
            "completion_window": "24h",
            "status": shown,
            "output_file_id": f"file-out-{job.job_id}" if status == "finished" else None,
            "error_file_id": None,
            "created_at": int(job.created_at),
            "metadata": job.body["metadata"],
        }

    async def _create_anthropic(self, request: Request) -> Response:
        requests = (await request.json()).get("requests") or [{}]
        params = requests[0].get("params") or {}
        texts = [params.get("system"), *(message.get("content") for message in params.get("messages", []))]
        text = "\n\n".join(str(part) for part in texts if part)
        if self._is_rate_limited(text):
            return anthropic_error(429, "rate_limit_error", "too many requests", retry_after=1)
        job = self._new_job("anthropic", text, params, {"custom_id": requests[0].get("custom_id")})
        return JSONResponse(self._anthropic_batch(job))

    async def _retrieve_anthropic(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return anthropic_error(404, "not_found_error", "no such batch")
        return _garbage() if "[[garbage]]" in job.text else JSONResponse(self._anthropic_batch(job))

    async def _cancel_anthropic(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return anthropic_error(404, "not_found_error", "no such batch")
        self._cancel(job)
        return JSONResponse(self._anthropic_batch(job))

    async def _results_of_anthropic(self, request: Request) -> Response:
        job = self._job(request)
        if job is None or self._state(job)["status"] == "running":
            return anthropic_error(404, "not_found_error", "no results")
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": "the model gave up"}}
        match self._state(job)["status"]:
            case "finished":
                result = {"type": "succeeded", "message": message_object(str(job.body["model"]), job.text)}
            case "failed":
                result = {"type": "errored", "error": error}
            case _:
                result = {"type": "canceled"}
        line = json.dumps({"custom_id": job.body["custom_id"], "result": result})
        return Response(line + "\n", media_type="application/x-jsonl")

    def _anthropic_batch(self, job: "Job") -> dict[str, Any]:
        is_running = self._state(job)["status"] == "running"
        return {
            "id": f"msgbatch_{job.job_id}",
            "type": "message_batch",
            "processing_status": "in_progress" if is_running else "ended",
            "results_url": None if is_running else f"/v1/messages/batches/msgbatch_{job.job_id}/results",
        }

    def _new_job(self, vendor: str, text: str, body: dict[str, Any], details: dict[str, Any]) -> "Job":
        run_id = str(details["custom_id"]).rpartition("-")[0]
        job = {"batch_of": vendor, "input_text": text, "model": body.get("model"), "run_uuid": run_id, **details}
        key = f"batch-{uuid4()}"
        self._jobs.write(key=key, body=job, at=time.time())
        return self._jobs.by_key[key]

    def _job(self, request: Request) -> "Job | None":
        return self._jobs.by_id.get(request.path_params["batch_id"].rpartition("_")[2])

    def _batches_of(self, vendor: str) -> "list[Job]":
        return [job for job in self._jobs.by_id.values() if job.body.get("batch_of") == vendor]

    def _cancel(self, job: "Job") -> None:
        if self._state(job)["status"] == "running":
            self._jobs.write(key=job.job_id, body=None, at=time.time(), action="cancel")

    def _is_rate_limited(self, text: str) -> bool:
        self._tries[text] = self._tries.get(text, 0) + 1
        return "[[rate-limit]]" in text and self._tries[text] <= 2


def _garbage() -> Response:
    return Response("<html>502 bad luck</html>", media_type="text/html")
