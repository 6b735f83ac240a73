"""Implements what the batch protocols share: creates a batch of one request, and asks about it until it has an answer.

Each batch has one request, so that a run is cancelled, retried and paid for alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from shared.adapters.llm.http import LlmHttpPools, unreadable
from shared.adapters.llm.protocol import LlmCall, Secrets
from shared.domain.progress import Finished, JobCreated, Running
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable

SUBMIT_SECONDS = 20.0
CHECK_SECONDS = 10.0
CANCEL_SECONDS = 3.0
MAX_ID_LENGTH = 255
_BUSY = frozenset({"validating", "in_progress", "finalizing", "cancelling", "canceling"})


class BatchProtocol(ABC):
    """Calls the API of one vendor; the subclasses know its paths, bodies and answers."""

    def __init__(self, pools: LlmHttpPools, *, secrets: Secrets) -> None:
        self._pools = pools
        self._secrets = secrets

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        return self._pools.of(base_url).slot()

    @abstractmethod
    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> JobCreated:
        """Creates a batch; see SynchronousProtocol.start."""

    async def check(self, call: LlmCall) -> Running | Finished:
        batch = await self._call(call, "GET", self._path(call), seconds=CHECK_SECONDS)
        if self._status(batch) in _BUSY:
            return Running()
        return await self._read_ended(call, batch)

    async def cancel(self, call: LlmCall) -> None:
        await self._call(call, "POST", f"{self._path(call)}/cancel", seconds=CANCEL_SECONDS)

    @abstractmethod
    def _headers(self, call: LlmCall) -> dict[str, str]: ...

    @abstractmethod
    def _path(self, call: LlmCall) -> str:
        """Returns the path of the run's batch."""

    @abstractmethod
    def _status(self, batch: Mapping[str, Any]) -> Any: ...

    @abstractmethod
    async def _read_ended(self, call: LlmCall, batch: Mapping[str, Any]) -> Finished:
        """Reads the answer of a batch that is not at work any more. Raises LlmUnavailable or LlmRefused."""

    async def _call(
        self, call: LlmCall, method: str, path: str, *, seconds: float, body: Any = None
    ) -> Mapping[str, Any]:
        """Returns the JSON object of the answer; of a file with JSON lines, which has one line, that line."""
        response = await self._pools.of(call.base_url).call(
            method, f"{call.base_url}/{path}", seconds=seconds, headers=self._headers(call), body=body
        )
        read: Mapping[str, Any] = response.body
        return read


def failed_for_now() -> LlmUnavailable:
    """Returns the error of a batch that failed in a way that a new one may not."""
    return LlmUnavailable("The LLM could not finish the job.", code=ErrorCode.LLM_JOB_FAILED)


def expired() -> LlmRefused:
    return LlmRefused("The LLM did not finish the job within its day.", code=ErrorCode.LLM_FAILED)


def read_id(body: Mapping[str, Any]) -> str:
    value = body.get("id")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        raise unreadable()
    return value


def items_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
