"""The `openai_responses` protocol: a response is created in the background and retrieved until it is complete.

https://platform.openai.com/docs/guides/background
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

from shared.adapters.llm.http import LlmHttpPools, unreadable
from shared.adapters.llm.parameters import responses_parameters
from shared.adapters.llm.protocol import LlmCall, Secrets
from shared.adapters.llm.token_limit import read_cut_off
from shared.adapters.llm.vendor_errors import error_of_failed_job
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.result import Result, read_usage
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused

SUBMIT_SECONDS = 20.0
CHECK_SECONDS = 10.0
CANCEL_SECONDS = 3.0
MAX_ID_LENGTH = 2048
"""LiteLLM's proxy puts what it knows of a response into its id, which then has some 600 characters."""
_RETRYABLE_FAILURES = frozenset({"server_error", "vector_store_timeout"})


class ResponsesProtocol:
    def __init__(self, pools: LlmHttpPools, *, secrets: Secrets) -> None:
        self._pools = pools
        self._secrets = secrets

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        return self._pools.of(base_url).slot()

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> JobCreated | Finished:
        """Returns the answer of a server that has no background mode and answers at once."""
        response = await self._pools.of(call.base_url).call(
            "POST",
            f"{call.base_url}/responses",
            seconds=min(SUBMIT_SECONDS, seconds),
            headers=call.bearer(self._secrets),
            body={**build_body(call, content), "background": True, "store": True},
        )
        if response.body.get("status") == "completed":
            return read_completed(response.body, call.prices)
        if response.body.get("status") == "incomplete":
            return read_incomplete(response.body, call.prices)
        response_id = response.body.get("id")
        if not isinstance(response_id, str) or not 0 < len(response_id) <= MAX_ID_LENGTH:
            raise unreadable()
        return JobCreated(provider_job_id=response_id)

    async def check(self, call: LlmCall) -> Running | Finished:
        response = await self._pools.of(call.base_url).call(
            "GET", _url(call), seconds=CHECK_SECONDS, headers=call.bearer(self._secrets)
        )
        match response.body.get("status"):
            case "completed":
                return read_completed(response.body, call.prices)
            case "queued" | "in_progress":
                return Running()
            case "incomplete":
                return read_incomplete(response.body, call.prices)
            case "failed":
                raise error_of_failed_job(response.body, retryable=_RETRYABLE_FAILURES)
            case "cancelled":
                raise LlmRefused("The LLM cancelled the job.", code=ErrorCode.LLM_JOB_CANCELLED)
        raise unreadable()

    async def cancel(self, call: LlmCall) -> None:
        await self._pools.of(call.base_url).call(
            "POST", f"{_url(call)}/cancel", seconds=CANCEL_SECONDS, headers=call.bearer(self._secrets)
        )


def build_body(call: LlmCall, content: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the body of POST /responses. Its metadata name the run, so that people find it in the vendor's log."""
    system = content.get("system_message")
    return {
        "model": call.upstream_model,
        "input": content.get("full_input"),
        "metadata": {"run_id": call.run.id, "attempt": str(call.run.attempt)},
        **({"instructions": system} if system else {}),
        **responses_parameters(call, content),
    }


def _url(call: LlmCall) -> str:
    return f"{call.base_url}/responses/{quote(call.run.provider_job_id or '', safe='')}"


def read_completed(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    """Reads {output: [{type: "message", content: [{type: "output_text", text} | {type: "refusal"}]}], usage}.

    Raises LlmRefused when the model declined to answer, and LlmUnavailable when there is no text to read.
    """
    text = _text_of(body)
    if text is None:
        raise unreadable()
    return Finished(result=Result(text=text), usage=read_usage(body.get("usage"), prices=prices))


def read_incomplete(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    """Returns what there is of a response that ended before its answer was complete.

    Raises LlmRefused when its content was filtered, and when the token limit has ended it too early to be of use.
    """
    if _get(body.get("incomplete_details"), "reason") == "content_filter":
        raise LlmRefused(may_be_billed=True)
    result = read_cut_off(_text_of(body) or "")
    return Finished(result=result, usage=read_usage(body.get("usage"), prices=prices))


def _text_of(body: Mapping[str, Any]) -> str | None:
    """Returns the text of a response, None when there is none to read. Raises LlmRefused for a refusal."""
    parts = [part for item in _list(body.get("output")) for part in _list(_get(item, "content"))]
    texts = [_get(part, "text") for part in parts if _get(part, "type") == "output_text"]
    if not texts and any(_get(part, "type") == "refusal" for part in parts):
        raise LlmRefused(may_be_billed=True)
    return "".join(texts) if texts and all(isinstance(text, str) for text in texts) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
