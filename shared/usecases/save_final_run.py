"""Saves a run that has ended, and shows it in the result cache, where older code looks for it.

The cache may fail; the run may not. The cache is written before the run, so that the one save of the run also records
whether the sweeper has to write the cache again: a working cache costs no extra write, and a worker that dies in
between leaves nothing missing. Afterwards the entry is compared with the store, so that of several writers the one
whose save the store took stays in the cache.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from shared import log
from shared.domain import views
from shared.domain.run import Run
from shared.errors import CacheUnavailable, StaleRun, StoreUnavailable
from shared.ports import Clock, ResultCache, RunStore
from shared.usecases.conflicts import MAX_UPDATES

TIME_TO_LIVE = timedelta(days=1)
"""Counted from the end of the run, whenever the entry is written."""
MIN_TIME_TO_LIVE = timedelta(seconds=1)
MAX_BYTES = 8 * 1024 * 1024


def cache_key(run_id: str) -> str:
    """Returns the key under which older code looks for the run in the result cache."""
    return f"llm_job:{run_id}"


class SaveFinalRun(Struct, frozen=True, kw_only=True):
    store: RunStore
    cache: ResultCache
    clock: Clock
    retry_pause: timedelta
    """How soon the sweeper writes the cache again after a failure; the pause then grows with the run's age."""

    async def __call__(self, run: Run) -> Run:
        """Writes the cache, saves the run and returns it as stored.

        Raises StaleRun when another writer was first; the cache then shows what is stored.
        """
        if run.deleted_at is not None:
            return await self._erase(run)
        due_at = None if await self._write_cache(run) else self._next_attempt(run)
        try:
            return await self.store.save(run.postponed(due_at))
        except StaleRun:
            await self.reconcile_cache(run.id)
            raise

    async def _erase(self, run: Run) -> Run:
        """Erases the content first and then the cache entry, which takes one more save.

        A worker that writes the entry of the run's end at the same time compares it with the store afterwards. In the
        other order it could still find the run as it was, and leave the content of a deleted run in the cache.
        """
        erased = await self.store.erase(run.postponed(self._next_attempt(run)))
        if not await self._write_cache(erased):
            return erased
        try:
            return await self.store.save(erased.postponed(None))
        except (StaleRun, StoreUnavailable):
            log.info("cache entry deleted; the sweeper deletes it again", run_id=run.id)
            return erased

    async def reconcile_cache(self, run_id: str) -> None:
        """Makes the cache show what is stored, after a save that may have failed behind a written cache."""
        for _ in range(MAX_UPDATES):
            run = await self.store.get(run_id)
            written = await self._write_cache(run)
            if await (self._is_current(run) if written else self._leave_to_sweeper(run)):
                return

    async def _write_cache(self, run: Run) -> bool:
        """Writes the run's entry, or deletes it for a run that has nothing to show. Returns whether that worked."""
        time_to_live = (run.completed_at or self.clock.now()) + TIME_TO_LIVE - self.clock.now()
        if time_to_live < MIN_TIME_TO_LIVE:
            return True
        key, text = cache_key(run.id), _entry(run)
        try:
            if text is None:
                await self.cache.delete(key)
            else:
                await self.cache.put(key, text, keep_for=time_to_live)
        except CacheUnavailable:
            log.info("result cache not written; the sweeper will", run_id=run.id)
            return False
        return True

    def _next_attempt(self, run: Run) -> datetime:
        now = self.clock.now()
        return now + max(self.retry_pause, now - (run.completed_at or now))

    async def _is_current(self, run: Run) -> bool:
        return bool((await self.store.get(run.id)).revision == run.revision)

    async def _leave_to_sweeper(self, run: Run) -> bool:
        """Saves when the sweeper writes the cache. Returns False when another writer saved the run first."""
        if run.due_at is not None:
            return True  # an open run: its entry is written when it ends
        try:
            await self.store.save(run.postponed(self._next_attempt(run)))
        except StaleRun:
            return False
        return True


def _entry(run: Run) -> str | None:
    """Returns the text of the cache entry, None when the run is to have no entry."""
    if not run.is_terminal or run.deleted_at is not None:
        return None
    content = views.status_content(run)
    if len(content) <= MAX_BYTES:
        return content.decode()
    log.warning("result too large for the cache", run_id=run.id)
    return None
