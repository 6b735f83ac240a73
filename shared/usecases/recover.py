"""Ends the leases of a worker that is known to have died. Elsewhere leases end by time."""

from msgspec import Struct

from shared import log
from shared.domain.run import SHARDS, Run
from shared.domain.status import Status
from shared.errors import StaleRun
from shared.ports import Clock, RunPosition, RunQueue, RunStore
from shared.usecases.sweep_webhooks import SweepWebhooks

PAGE = 100


class RecoverRuns(Struct, frozen=True, kw_only=True):
    store: RunStore
    queue: RunQueue
    webhooks: SweepWebhooks
    clock: Clock

    async def __call__(self) -> int:
        """Makes claimed runs and deliveries claimable at once, and returns how many runs.

        The idempotency keys of the runs stay the same.
        """
        released = 0
        await self.webhooks.recover()
        last: RunPosition | None = None
        while (page := await self.store.due_runs(range(SHARDS), after=last, limit=PAGE)).positions:
            last = page.positions[-1]
            for run in page.runs:
                released += await self._release(run)
        return released

    async def _release(self, run: Run) -> bool:
        if run.status is not Status.PROCESSING or run.provider_job_id is not None or run.waiting_for is not None:
            return False
        try:
            await self.store.save(run.postponed(self.clock.now()))
        except StaleRun:
            return False
        await self.queue.publish(run.id, lane=run.lane)
        log.info("lease of a dead worker ended", run_id=run.id)
        return True
