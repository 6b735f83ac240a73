"""Show complete runs in the result cache too, where older code looks for them. It may fail; the runs do not.

The cache is written before the run, so that the one save of a run that ends also says whether the sweeper is still to
do it: a cache that works costs no write, and a worker that dies in between leaves nothing missing. Whatever was put is
held against the store afterwards, by the save or by reading again, so that of several writers the store's winner stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import log
from shared.domain.run import Run
from shared.errors import CacheUnavailable, StaleRun
from shared.ports import Clock, ResultCache, RunStore

KEPT_FOR = timedelta(days=1)
"""From the end of the run, whenever it is put."""
LAST_MOMENT = timedelta(seconds=1)
MAX_BYTES = 8 * 1024 * 1024
MAX_TRIES = 8
"""Of all who save a run that others may save first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFinalRun:
    store: RunStore
    cache: ResultCache
    clock: Clock
    show: Callable[[Run], str]
    """The run's status object, as JSON."""
    pause: timedelta
    """How soon the sweeper tries again; then when the run is twice as old as at the last try."""

    async def __call__(self, run: Run) -> Run:
        """Saves a complete run, and shows it as it is saved. Raises StaleRun, having shown what is stored instead."""
        due_at = None if await self._show(run) else self._next_try(run)
        save = self.store.save if run.deleted_at is None else self.store.erase
        try:
            return await save(run.postponed(due_at))
        except StaleRun:
            await self.reconcile_cache(run.id)
            raise

    async def reconcile_cache(self, run_id: str) -> None:
        """Makes the cache show what is stored, for one that may show what was never saved."""
        for _ in range(MAX_TRIES):
            run = await self.store.get(run_id)
            shown = await self._show(run)
            if await (self._is_stored(run) if shown else self._is_left_to_the_sweeper(run)):
                return

    async def _show(self, run: Run) -> bool:
        """Whether the cache is as it should be for this run: shows it, or nothing when it has nothing to show."""
        left = self._end(run) - self.clock.now()
        if left < LAST_MOMENT:
            return True
        try:
            if (text := self._text(run)) is None:
                await self.cache.delete(f"llm_job:{run.id}")
            else:
                await self.cache.put(f"llm_job:{run.id}", text, keep_for=left)
        except CacheUnavailable:
            log.info("result cache not written; the sweeper will", run_id=run.id)
            return False
        return True

    def _text(self, run: Run) -> str | None:
        """None: nothing is to be there."""
        if not run.is_terminal or run.deleted_at is not None:
            return None
        content = self.show(run).encode(errors="replace")
        if len(content) <= MAX_BYTES:
            return content.decode()
        log.warning("result too large for the cache", run_id=run.id)
        return None

    def _next_try(self, run: Run) -> datetime:
        now = self.clock.now()
        return now + max(self.pause, now - (run.completed_at or now))

    def _end(self, run: Run) -> datetime:
        return (run.completed_at or self.clock.now()) + KEPT_FOR

    async def _is_stored(self, run: Run) -> bool:
        return bool((await self.store.get(run.id)).revision == run.revision)

    async def _is_left_to_the_sweeper(self, run: Run) -> bool:
        """Also an open run: it is shown when it ends."""
        if run.due_at is not None:
            return True
        try:
            await self.store.save(run.postponed(self._next_try(run)))
        except StaleRun:
            return False
        return True
