"""The `llm_jobs` protocol: a POST returns a job's id at once, and later GETs return its status and result."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, TypeGuard
from urllib.parse import quote

from shared.adapters.llm.http import LlmHttpPools, unreadable
from shared.adapters.llm.protocol import LlmCall
from shared.adapters.llm.vendor_errors import error_of_failed_job
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.result import read_result, read_usage
from shared.domain.status import Kind
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused

SUBMIT_SECONDS = 10.0
CHECK_SECONDS = 10.0
CANCEL_SECONDS = 3.0
MAX_JOB_ID_LENGTH = 255
_RETRYABLE_FAILURES = frozenset({"unavailable", "timeout", "interrupted"})


class JobsProtocol:
    def __init__(self, pools: LlmHttpPools) -> None:
        self._pools = pools

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        return self._pools.of(base_url).slot()

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> JobCreated:
        response = await self._pools.of(call.base_url).call(
            "POST",
            f"{call.base_url}/jobs",
            seconds=min(SUBMIT_SECONDS, seconds),
            headers={"Idempotency-Key": call.run.idempotency_key},
            body=_build_submit_body(call, content),
        )
        job_id = response.body.get("job_id")
        if not isinstance(job_id, str) or not 0 < len(job_id) <= MAX_JOB_ID_LENGTH:
            raise unreadable()
        return JobCreated(provider_job_id=job_id)

    async def check(self, call: LlmCall) -> Running | Finished:
        response = await self._pools.of(call.base_url).call("GET", _job_url(call), seconds=CHECK_SECONDS)
        match response.body.get("status"):
            case "finished":
                return _read_finished(response.body, call.prices)
            case "queued" | "running":
                return _read_running(response.body)
            case "failed":
                raise error_of_failed_job(response.body, retryable=_RETRYABLE_FAILURES)
            case "cancelled":
                raise LlmRefused("The LLM cancelled the job.", code=ErrorCode.LLM_JOB_CANCELLED)
        raise unreadable()

    async def cancel(self, call: LlmCall) -> None:
        await self._pools.of(call.base_url).call("POST", f"{_job_url(call)}/cancel", seconds=CANCEL_SECONDS)


def _build_submit_body(call: LlmCall, content: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the body of POST /jobs. This protocol has one text, so a job's system message goes before its input."""
    run, organization = call.run, call.organization
    names = ("system_message", "full_input") if run.kind is Kind.JOB else ("text",)
    text = "\n\n".join(filter(None, [content.get(name) for name in names]))
    return {
        "run_uuid": run.id,
        "input_text": text,
        "prior_run_uuid": run.prior_run_id,
        "prior_job_id": run.prior_provider_job_id,
        "organization": {"id": run.organization_id, "name": organization.name if organization else None},
        "phrase_client_id": run.phrase_client_id,
        "source_lang": run.source_lang,
        "target_lang": run.target_lang,
        "style_guide": run.style_guide,
        "reference_file_ids": list(run.reference_file_ids),
    }


def _job_url(call: LlmCall) -> str:
    return f"{call.base_url}/jobs/{quote(call.run.provider_job_id or '', safe='')}"


def _read_finished(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    """Reads {output: {text, memory_flags, term_pairs}, usage?}. Raises LlmUnavailable when there is no text."""
    output = body.get("output")
    if not isinstance(output, dict) or not isinstance(output.get("text"), str):
        raise unreadable()
    return Finished(result=read_result(output), usage=read_usage(body.get("usage"), prices=prices))


def _read_running(body: Mapping[str, Any]) -> Running:
    """Reads {progress?: 0 to 1, eta_seconds?: under a day}; ignores values outside these bounds."""
    progress, eta = body.get("progress"), body.get("eta_seconds")
    return Running(
        progress=float(progress) if _is_number(progress) and 0 <= progress <= 1 else None,
        eta=timedelta(seconds=eta) if _is_number(eta) and 0 <= eta < 86400 else None,
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
