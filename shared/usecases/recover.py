"""Free the runs that a worker had claimed when it died, where it is known that it did; elsewhere leases simply end."""

from dataclasses import dataclass

from shared import log
from shared.domain.run import SHARDS, Run, Status
from shared.errors import StaleRun
from shared.ports import Clock, RunQueue, RunStore

PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverRuns:
    store: RunStore
    queue: RunQueue
    clock: Clock

    async def __call__(self) -> int:
        """How many runs were free to be claimed again; their next submit carries the same idempotency key."""
        freed = 0
        for shard in range(SHARDS):
            last: Run | None = None
            while runs := await self.store.due_runs(shard, after=last, limit=PAGE):
                last = runs[-1]
                for run in runs:
                    freed += await self._free(run)
        return freed

    async def _free(self, run: Run) -> bool:
        if run.status is not Status.PROCESSING or run.provider_job_id is not None or run.waiting_for is not None:
            return False
        try:
            await self.store.save(run.postponed(self.clock.now()))
        except StaleRun:
            return False
        await self.queue.publish(run.id)
        log.info("run of a dead worker freed", run_id=run.id)
        return True
