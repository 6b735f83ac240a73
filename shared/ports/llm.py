"""Defines how LLMs are called, and what is known of their pace."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from shared.domain.durations import Durations
    from shared.domain.progress import Finished, JobCreated, OnText, Running
    from shared.domain.run import Run


class LlmProvider(Protocol):
    """Calls LLMs. Each call ends within a bounded time, or when cancelled, and raises LlmUnavailable or LlmRefused."""

    def slot(self, run: Run) -> AbstractAsyncContextManager[bool]:
        """Yields whether the run can be claimed and sent now. Raises LlmUnavailable while the server keeps failing."""

    async def start(
        self, run: Run, content: Mapping[str, Any], *, within: timedelta, on_text: OnText | None = None
    ) -> JobCreated | Finished:
        """Sends `content` under the run's idempotency key, and returns the LLM's job or its answer within that time."""

    async def check(self, run: Run) -> Running | Finished:
        """Returns the state of `run.provider_job_id`; changes nothing."""

    async def cancel(self, run: Run) -> None:
        """Asks the LLM to stop `run.provider_job_id`; a job that has ended is no error."""


class DurationStore(Protocol):
    """Stores roughly how long provider jobs take, by key. The newest few hundred jobs count; some may be missing."""

    async def known(self, key: str) -> Durations:
        """Returns the durations stored under the key; empty ones when there are none. They may be a minute old."""

    async def add(self, key: str, durations: Durations) -> None: ...
