"""Keeps a message that could not be handled however often it was delivered, and fails the run that it names."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared import log
from shared.domain.run import Failure
from shared.error_codes import ErrorCode
from shared.errors import RunNotFound
from shared.ports import Clock, DeadLetters, RunStore
from shared.usecases.conflicts import retry_when_stale
from shared.usecases.save_final_run import SaveFinalRun

UNDELIVERABLE = Failure(
    code=ErrorCode.UNDELIVERABLE,
    message="The run could not be processed, however often it was tried.",
    retryable=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuryRun:
    store: RunStore
    dead_letters: DeadLetters
    save_final: SaveFinalRun
    clock: Clock

    async def __call__(
        self, *, run_id: str | None, message_id: str, source: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        """Keeps the message, and fails the run that it names unless the run has ended or has a provider job."""
        await self.dead_letters.keep(
            message_id=message_id, source=source, reason=ErrorCode.UNDELIVERABLE, data=data, attributes=attributes
        )
        log.error("dead letter kept", run_id=run_id, message_id=message_id)
        if run_id is not None:
            await retry_when_stale(lambda: self._fail(run_id))

    async def _fail(self, run_id: str) -> None:
        """Fails the run. One with a provider job goes on: its re-checks need no message."""
        try:
            run = await self.store.get(run_id)
        except RunNotFound:
            return
        if not run.is_terminal and run.provider_job_id is None:
            await self.save_final(run.failed(self.clock.now(), error=UNDELIVERABLE))
