"""Stop a run: first here, where it counts, then at the LLM, as far as it listens."""

from dataclasses import dataclass

from shared import log
from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.errors import StaleRun
from shared.ports import Clock, LlmProvider
from shared.usecases.advance import cancel_upstream
from shared.usecases.read import ReadRuns
from shared.usecases.save_final_run import MAX_TRIES, SaveFinalRun


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRun:
    reader: ReadRuns
    provider: LlmProvider
    save_final: SaveFinalRun
    clock: Clock

    async def __call__(self, caller: Profile, run_id: str) -> tuple[Run, bool]:
        """(the run, whether this call cancelled it); a complete run stays as it is. Raises RunNotFound."""
        for _ in range(MAX_TRIES):
            run = await self.reader.get(caller, run_id)
            if run.is_terminal:
                return run, False
            try:
                cancelled = await self.save_final(run.cancelled(self.clock.now()))
            except StaleRun:
                continue
            log.info("run cancelled", run_id=run.id)
            await cancel_upstream(self.provider, cancelled)
            return cancelled, True
        raise StaleRun
