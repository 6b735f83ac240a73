"""End a run whose message could not be handled however often it was tried, and keep the message for people to see."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared import log
from shared.domain.run import Failure
from shared.errors import RunNotFound, StaleRun
from shared.ports import Clock, DeadLetters, RunStore
from shared.usecases.save_final_run import MAX_TRIES, SaveFinalRun

UNDELIVERABLE = Failure(
    code="undeliverable", message="The run could not be processed, however often it was tried.", retryable=True
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
        """Fails the run, if the message names one that is still pending or waiting; keeps the message either way."""
        await self.dead_letters.keep(
            message_id=message_id, source=source, reason="undeliverable", data=data, attributes=attributes
        )
        log.error("dead letter kept", run_id=run_id, message_id=message_id)
        if run_id is not None:
            await self._fail(run_id)

    async def _fail(self, run_id: str) -> None:
        """A run whose provider job is at work goes on: its re-checks need no message."""
        for _ in range(MAX_TRIES):
            try:
                run = await self.store.get(run_id)
                if run.is_terminal or run.provider_job_id is not None:
                    return
                await self.save_final(run.failed(self.clock.now(), error=UNDELIVERABLE))
                return
            except RunNotFound:
                return
            except StaleRun:
                continue
        raise StaleRun
