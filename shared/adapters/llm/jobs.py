"""The `llm_jobs` protocol: post a job, get its id at once, ask for its status later."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, TypeGuard
from urllib.parse import quote

from shared.adapters.llm.http import LlmHttp, error_code
from shared.domain.directory import Organization
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.result import read_result, read_usage
from shared.domain.run import Kind, Run
from shared.errors import LlmRefused, LlmUnavailable

SUBMIT_SECONDS = 10.0
CHECK_SECONDS = 10.0
CANCEL_SECONDS = 3.0
MAX_JOB_ID_LENGTH = 255
_RETRYABLE_FAILURES = frozenset({"overloaded", "rate_limited", "unavailable", "timeout", "interrupted"})


class JobsProtocol:
    def __init__(self, http: LlmHttp) -> None:
        self._http = http

    def slot(self) -> AbstractAsyncContextManager[bool]:
        return self._http.slot()

    async def start(
        self, base_url: str, run: Run, content: Mapping[str, Any], *, organization: Organization | None, seconds: float
    ) -> JobCreated:
        answer = await self._http.call(
            "POST",
            f"{base_url}/jobs",
            seconds=min(SUBMIT_SECONDS, seconds),
            headers={"Idempotency-Key": run.idempotency_key},
            body=_order(run, content, organization),
        )
        job_id = answer.body.get("job_id")
        if not isinstance(job_id, str) or not 0 < len(job_id) <= MAX_JOB_ID_LENGTH:
            raise LlmUnavailable("The LLM's answer could not be read.", code="llm_unreadable")
        return JobCreated(provider_job_id=job_id)

    async def check(self, base_url: str, run: Run, *, prices: Mapping[str, float] | None) -> Running | Finished:
        answer = await self._http.call("GET", _job_url(base_url, run), seconds=CHECK_SECONDS)
        match answer.body.get("status"):
            case "finished":
                return _finished(answer.body, prices)
            case "queued" | "running":
                return _running(answer.body)
            case "failed":
                raise _failure(answer.body)
            case "cancelled":
                raise LlmRefused("The LLM cancelled the job.", code="llm_job_cancelled")
        raise LlmUnavailable("The LLM's answer could not be read.", code="llm_unreadable")

    async def cancel(self, base_url: str, run: Run) -> None:
        await self._http.call("POST", f"{_job_url(base_url, run)}/cancel", seconds=CANCEL_SECONDS)


def _order(run: Run, content: Mapping[str, Any], organization: Organization | None) -> dict[str, Any]:
    """The body of POST /jobs. A job's system message goes before its input: this protocol has one text."""
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


def _job_url(base_url: str, run: Run) -> str:
    return f"{base_url}/jobs/{quote(run.provider_job_id or '', safe='')}"


def _finished(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    output = body.get("output")
    if not isinstance(output, dict) or not isinstance(output.get("text"), str):
        raise LlmUnavailable("The LLM's answer could not be read.", code="llm_unreadable")
    return Finished(result=read_result(output), usage=read_usage(body.get("usage"), prices=prices))


def _running(body: Mapping[str, Any]) -> Running:
    progress, eta = body.get("progress"), body.get("eta_seconds")
    return Running(
        progress=float(progress) if _number(progress) and 0 <= progress <= 1 else None,
        eta=timedelta(seconds=eta) if _number(eta) and 0 <= eta < 86400 else None,
    )


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _failure(body: Mapping[str, Any]) -> LlmRefused | LlmUnavailable:
    """The provider's own words stay out: they may quote the user's text."""
    code = error_code(body)
    if code in _RETRYABLE_FAILURES:
        return LlmUnavailable("The LLM could not finish the job.", code="llm_job_failed")
    if code in ("refused", "content_filter"):
        return LlmRefused()
    return LlmRefused("The LLM failed to process this input.", code="llm_failed")
