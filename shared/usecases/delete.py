"""Erase what a complete run holds of its user; that there was a run, when, and how it ended stays."""

from dataclasses import dataclass

from shared import log
from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.errors import RunOpen, StaleRun
from shared.ports import Clock
from shared.usecases.read import ReadRuns
from shared.usecases.save_final_run import MAX_TRIES, SaveFinalRun


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRun:
    reader: ReadRuns
    save_final: SaveFinalRun
    clock: Clock

    async def __call__(self, caller: Profile, run_id: str) -> Run:
        """The run without its content; deleting it again changes nothing. Raises RunNotFound, RunOpen."""
        for _ in range(MAX_TRIES):
            run = await self.reader.get(caller, run_id)
            if not run.is_terminal:
                raise RunOpen
            if run.deleted_at is not None:
                return run
            try:
                erased = await self.save_final(run.erased(self.clock.now()))
            except StaleRun:
                continue
            log.info("run deleted", run_id=run.id)
            return erased
        raise StaleRun
