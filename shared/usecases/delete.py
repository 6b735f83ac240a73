"""Deletes what a run holds of its user. Its id, times, status and metrics stay."""

from msgspec import Struct

from shared import log
from shared.domain.directory import Profile
from shared.domain.erasure import erased
from shared.domain.run import Run
from shared.errors import RunOpen
from shared.ports import Clock
from shared.usecases.conflicts import retry_when_stale
from shared.usecases.read import ReadRuns
from shared.usecases.save_final_run import SaveFinalRun


class DeleteRun(Struct, frozen=True, kw_only=True):
    reader: ReadRuns
    save_final: SaveFinalRun
    clock: Clock

    async def __call__(self, caller: Profile, run_id: str) -> Run:
        """Returns the run without its content; deleting it again changes nothing. Raises RunNotFound, RunOpen."""
        return await retry_when_stale(lambda: self._delete(caller, run_id))

    async def _delete(self, caller: Profile, run_id: str) -> Run:
        run = await self.reader.get(caller, run_id)
        if not run.is_terminal:
            raise RunOpen
        if run.deleted_at is not None:
            return run
        deleted = await self.save_final(erased(run, self.clock.now()))
        log.info("run deleted", run_id=run.id)
        return deleted
