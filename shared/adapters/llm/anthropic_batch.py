"""The `anthropic_batch` protocol: Anthropic's message batches, which answer within a day at half the price.

https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from shared.adapters.llm import messages
from shared.adapters.llm.batch import (
    CHECK_SECONDS,
    SUBMIT_SECONDS,
    BatchProtocol,
    expired,
    get,
    read_id,
)
from shared.adapters.llm.http import unreadable
from shared.adapters.llm.protocol import LlmCall
from shared.adapters.llm.vendor_errors import error_of_failed_job
from shared.domain.progress import Finished, JobCreated
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused

_RETRYABLE_ERRORS = frozenset({"api_error", "timeout_error"})


class AnthropicBatchProtocol(BatchProtocol):
    """Anthropic's list of batches does not name their requests, so the batch of a lost worker cannot be found."""

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> JobCreated:
        request = {"custom_id": call.run.idempotency_key, "params": messages.build_body(call, content)}
        batch = await self._call(
            call, "POST", "messages/batches", seconds=min(SUBMIT_SECONDS, seconds), body={"requests": [request]}
        )
        return JobCreated(provider_job_id=read_id(batch))

    def _headers(self, call: LlmCall) -> dict[str, str]:
        return messages.build_headers(call, self._secrets)

    def _path(self, call: LlmCall) -> str:
        return f"messages/batches/{quote(call.run.provider_job_id or '', safe='')}"

    def _status(self, batch: Mapping[str, Any]) -> Any:
        return batch.get("processing_status")

    async def _read_ended(self, call: LlmCall, batch: Mapping[str, Any]) -> Finished:
        if self._status(batch) != "ended":
            raise unreadable()
        line = await self._call(call, "GET", f"{self._path(call)}/results", seconds=CHECK_SECONDS)
        result = line.get("result")
        match get(result, "type"):
            case "succeeded" if isinstance(message := get(result, "message"), dict):
                return messages.read_message(message, call.prices)
            case "errored":
                raise error_of_failed_job(get(result, "error"), retryable=_RETRYABLE_ERRORS)
            case "expired":
                raise expired()
            case "canceled":
                raise LlmRefused("The LLM cancelled the job.", code=ErrorCode.LLM_JOB_CANCELLED)
        raise unreadable()
