"""The `openai_batch` protocol: OpenAI's batch API, which answers within a day at half the price.

https://platform.openai.com/docs/guides/batch
"""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from shared.adapters.llm import responses
from shared.adapters.llm.batch import (
    CHECK_SECONDS,
    SUBMIT_SECONDS,
    BatchProtocol,
    expired,
    failed_for_now,
    get,
    items_of,
    read_id,
)
from shared.adapters.llm.http import LlmResponse, raise_for_status, unreadable
from shared.adapters.llm.protocol import LlmCall
from shared.adapters.llm.request import Upload
from shared.adapters.llm.vendor_errors import error_of_failed_job
from shared.domain.progress import Finished, JobCreated
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable

PAGE_SIZE = 100
MAX_PAGES = 50
"""How many pages of batches are searched for one that a lost worker created; they are newest first."""
CLOCK_SKEW = timedelta(minutes=1)
_RETRYABLE_ERRORS = frozenset({"token_limit_exceeded"})
"""Too much is waiting in the batches of this account: https://platform.openai.com/docs/guides/batch"""


class OpenAiBatchProtocol(BatchProtocol):
    """OpenAI takes the request as an uploaded file, and gives the answer as another one.

    The batch carries the run's idempotency key in its metadata. A new worker lists the batches and continues that of
    a lost worker, because OpenAI has no idempotency keys of its own.
    """

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> JobCreated:
        deadline = time.monotonic() + min(SUBMIT_SECONDS, seconds)
        if call.run.has_resumed_attempt and (batch_id := await self._find(call, deadline=deadline)) is not None:
            return JobCreated(provider_job_id=batch_id)
        file_id = await self._upload(call, content, deadline=deadline)
        body = {
            "input_file_id": file_id,
            "endpoint": "/v1/responses",
            "completion_window": "24h",
            "metadata": {"run_id": call.run.id, "key": call.run.idempotency_key},
        }
        batch = await self._call(call, "POST", "batches", seconds=deadline - time.monotonic(), body=body)
        return JobCreated(provider_job_id=read_id(batch))

    async def _upload(self, call: LlmCall, content: Mapping[str, Any], *, deadline: float) -> str:
        line = {
            "custom_id": call.run.idempotency_key,
            "method": "POST",
            "url": "/v1/responses",
            "body": responses.build_body(call, content),
        }
        upload = Upload(fields={"purpose": "batch"}, name="run.jsonl", content=json.dumps(line).encode() + b"\n")
        return read_id(await self._call(call, "POST", "files", seconds=deadline - time.monotonic(), body=upload))

    async def _find(self, call: LlmCall, *, deadline: float) -> str | None:
        """Returns the id of the batch that a lost worker created for this attempt, None when there is none."""
        attempt = call.run.open_attempt
        oldest = (attempt.started_at - CLOCK_SKEW).timestamp() if attempt else 0.0
        after = ""
        for _ in range(MAX_PAGES):
            path = f"batches?limit={PAGE_SIZE}{after}"
            page = await self._call(call, "GET", path, seconds=deadline - time.monotonic())
            batches = [batch for batch in items_of(page.get("data")) if isinstance(batch, dict)]
            for batch in batches:
                if get(batch.get("metadata"), "key") == call.run.idempotency_key:
                    return read_id(batch)
            if not batches or not page.get("has_more") or not _is_newer(batches[-1], oldest):
                return None
            after = f"&after={quote(read_id(batches[-1]), safe='')}"
        return None

    def _headers(self, call: LlmCall) -> dict[str, str]:
        return call.bearer(self._secrets)

    def _path(self, call: LlmCall) -> str:
        return f"batches/{quote(call.run.provider_job_id or '', safe='')}"

    def _status(self, batch: Mapping[str, Any]) -> Any:
        return batch.get("status")

    async def _read_ended(self, call: LlmCall, batch: Mapping[str, Any]) -> Finished:
        """Reads the file with the answer, which even a cancelled or expired batch may have, or that with the error."""
        file_id = batch.get("output_file_id") or batch.get("error_file_id")
        if isinstance(file_id, str):
            path = f"files/{quote(file_id, safe='')}/content"
            return _read_line(await self._call(call, "GET", path, seconds=CHECK_SECONDS), call)
        match batch.get("status"):
            case "failed":
                errors = items_of(get(batch.get("errors"), "data"))
                raise error_of_failed_job(errors[0] if errors else None, retryable=_RETRYABLE_ERRORS)
            case "expired":
                raise expired()
            case "cancelled":
                raise LlmRefused("The LLM cancelled the job.", code=ErrorCode.LLM_JOB_CANCELLED)
        raise unreadable()


def _read_line(line: Mapping[str, Any], call: LlmCall) -> Finished:
    """Reads {response: {status_code, body} | null, error: {code} | null}, OpenAI's line for one request."""
    if get(line.get("error"), "code") == "batch_expired":
        raise expired()
    status, body = get(line.get("response"), "status_code"), get(line.get("response"), "body")
    if not isinstance(status, int) or not isinstance(body, dict):
        raise unreadable()
    try:
        raise_for_status(LlmResponse(status=status, body=body, retry_after=None), is_check=False)
    except LlmUnavailable as error:
        raise failed_for_now() from error
    if body.get("status") == "incomplete":
        return responses.read_incomplete(body, call.prices)
    return responses.read_completed(body, call.prices)


def _is_newer(batch: Mapping[str, Any], oldest: float) -> bool:
    """Returns whether the batch, and so perhaps the next page too, was created after the time `oldest`."""
    created_at = batch.get("created_at")
    return isinstance(created_at, int | float) and created_at >= oldest
