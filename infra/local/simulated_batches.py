"""Simulates the batch APIs of OpenAI and Anthropic, with the markers of the simulator.

Each batch has one request, as ours have. A batch is a job of the simulator, so it outlives a killed process; an
uploaded file that no batch uses yet does not.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from email import message_from_bytes
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.simulated_errors import (
    ANTHROPIC,
    ANTHROPIC_REQUEST,
    OPENAI,
    OPENAI_BATCH_ERRORS,
    RESPONSES,
    SimulatedError,
    anthropic_error,
    error_for,
    openai_error,
)
from infra.local.simulated_vendors import message_object, response_object

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
        self._tries: Counter[tuple[str, str]] = Counter()

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
            return openai_error(400, "Invalid file format for Batch API. Must be .jsonl", param="file").response()
        file_id = f"file-{uuid4().hex}"
        self._uploads[file_id] = line
        return JSONResponse({"id": file_id, "object": "file", "purpose": "batch"})

    async def _create_openai(self, request: Request) -> Response:
        body = await request.json()
        line = self._uploads.get(str(body.get("input_file_id")))
        if line is None:
            return openai_error(400, "No such File object", param="input_file_id").response()
        text = "\n\n".join(filter(None, [line["body"].get("instructions"), str(line["body"].get("input") or "")]))
        error = error_for(text, OPENAI, earlier_tries=self._count_try("openai", text))
        if error is not None:
            return error.response()
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
            return openai_error(404, f"No batch found with id '{request.path_params['batch_id']}'.").response()
        return _garbage() if "[[garbage]]" in job.text else JSONResponse(self._openai_batch(job))

    async def _cancel_openai(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return openai_error(404, f"No batch found with id '{request.path_params['batch_id']}'.").response()
        self._cancel(job)
        return JSONResponse(self._openai_batch(job))

    async def _content(self, request: Request) -> Response:
        kind, _, job_id = request.path_params["file_id"].removeprefix("file-").partition("-")
        job = self._jobs.by_id.get(job_id)
        if job is None or self._state(job)["status"] != "finished":
            return openai_error(404, "No such File object", param="id").response()
        answer: Any = response_object(job.job_id, str(job.body["model"]), job.text, job.created_at, self._state(job))
        error = _error_of_request(job)
        status, body = (error.status, error.body) if error and kind == "err" else (200, answer)
        response = {"status_code": status, "request_id": f"req_{job.job_id}", "body": body}
        line = {"id": f"out_{job.job_id}", "custom_id": job.body["custom_id"], "response": response, "error": None}
        return Response(json.dumps(line) + "\n", media_type="application/octet-stream")

    def _openai_batch(self, job: "Job") -> dict[str, Any]:
        status = self._state(job)["status"]
        invalid = next((error for marker, error in OPENAI_BATCH_ERRORS.items() if marker in job.text), None)
        if status in ("finished", "failed") and invalid is not None:
            status = "failed"
        is_finished, has_error = status == "finished", _error_of_request(job) is not None
        return {
            "id": f"batch_{job.job_id}",
            "object": "batch",
            "endpoint": "/v1/responses",
            "errors": {"object": "list", "data": [invalid]} if status == "failed" else None,
            "input_file_id": "file-in",
            "completion_window": "24h",
            "status": {"running": "in_progress", "finished": "completed"}.get(status, status),
            "output_file_id": f"file-out-{job.job_id}" if is_finished and not has_error else None,
            "error_file_id": f"file-err-{job.job_id}" if is_finished and has_error else None,
            "created_at": int(job.created_at),
            "metadata": job.body["metadata"],
        }

    async def _create_anthropic(self, request: Request) -> Response:
        requests = (await request.json()).get("requests") or [{}]
        params = requests[0].get("params") or {}
        texts = [params.get("system"), *(message.get("content") for message in params.get("messages", []))]
        text = "\n\n".join(str(part) for part in texts if part)
        error = error_for(text, ANTHROPIC, earlier_tries=self._count_try("anthropic", text))
        if error is not None:
            return error.response()
        job = self._new_job("anthropic", text, params, {"custom_id": requests[0].get("custom_id")})
        return JSONResponse(self._anthropic_batch(job))

    async def _retrieve_anthropic(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return anthropic_error(404, "not_found_error", "no such batch").response()
        return _garbage() if "[[garbage]]" in job.text else JSONResponse(self._anthropic_batch(job))

    async def _cancel_anthropic(self, request: Request) -> Response:
        job = self._job(request)
        if job is None:
            return anthropic_error(404, "not_found_error", "no such batch").response()
        self._cancel(job)
        return JSONResponse(self._anthropic_batch(job))

    async def _results_of_anthropic(self, request: Request) -> Response:
        job = self._job(request)
        if job is None or self._state(job)["status"] == "running":
            return anthropic_error(404, "not_found_error", "no results").response()
        error = error_for(job.text, ANTHROPIC_REQUEST, earlier_tries=0)
        match self._state(job)["status"]:
            case "finished" | "failed" if error is not None:
                result = {"type": "errored", "error": error.body}
            case "finished":
                result = {"type": "succeeded", "message": message_object(str(job.body["model"]), job.text)}
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

    def _count_try(self, vendor: str, text: str) -> int:
        """Counts this try and returns how many there were before."""
        self._tries[vendor, text] += 1
        return self._tries[vendor, text] - 1


def _error_of_request(job: "Job") -> SimulatedError | None:
    """Returns the error of the one request of an OpenAI batch that is valid as a file."""
    return RESPONSES["[[too-long]]"] if "[[too-long]]" in job.text else None


def _garbage() -> Response:
    return Response("<html>502 bad luck</html>", media_type="text/html")
