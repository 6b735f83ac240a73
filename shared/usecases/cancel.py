"""Cancels a run: first in the store, where it counts, then at the LLM."""

from msgspec import Struct

from shared import log
from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.ports import Clock, LlmProvider
from shared.usecases.advance import cancel_provider_job
from shared.usecases.conflicts import retry_when_stale
from shared.usecases.read import ReadRuns
from shared.usecases.save_final_run import SaveFinalRun


class CancelRun(Struct, frozen=True, kw_only=True):
    reader: ReadRuns
    provider: LlmProvider
    save_final: SaveFinalRun
    clock: Clock

    async def __call__(self, caller: Profile, run_id: str) -> tuple[Run, bool]:
        """Returns the run and whether this call cancelled it; a run that has ended stays as it is.

        Raises RunNotFound.
        """
        run, cancelled = await retry_when_stale(lambda: self._cancel(caller, run_id))
        if cancelled:
            log.info("run cancelled", run_id=run.id)
            await cancel_provider_job(self.provider, run)
        return run, cancelled

    async def _cancel(self, caller: Profile, run_id: str) -> tuple[Run, bool]:
        run = await self.reader.get(caller, run_id)
        if run.is_terminal:
            await self.save_final.reconcile_cache(run.id)  # an earlier try may have written its entry and no more
            return run, False
        return await self.save_final(run.cancelled(self.clock.now())), True
