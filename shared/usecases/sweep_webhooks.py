"""Schedules deliveries of webhooks again whose tasks were lost, so that each is tried as planned.

A delivery is overdue a while after its next try was due. It is scheduled first and made due later afterwards, so a
backlog does not grow by its own repair: the pause is the time since its event, within MIN_PAUSE and MAX_PAUSE.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from shared import log
from shared.domain.run import SHARDS
from shared.domain.webhook_delivery import LEASE, Delivery, task_of
from shared.ports import Clock, WebhookScheduler, WebhookStore

PAGE = 100
MAX_PAGES = 10
"""Of one shard in one pass; the next pass goes on with the longest overdue."""
MIN_PAUSE = timedelta(minutes=1)
MAX_PAUSE = timedelta(minutes=10)


class SweepWebhooks(Struct, frozen=True, kw_only=True):
    store: WebhookStore
    scheduler: WebhookScheduler
    clock: Clock
    overdue_after: timedelta
    """How long a task may take to arrive."""

    async def __call__(self) -> int:
        """Does one pass and returns how many deliveries it has scheduled.

        Raises StoreUnavailable and SchedulerUnavailable; the next pass then goes on.
        """
        now, scheduled = self.clock.now(), 0
        async for page in self._pages(before=now - self.overdue_after):
            for delivery in page:
                await self._repair(delivery, now)
            scheduled += len(page)
        if scheduled:
            log.info("webhook deliveries scheduled again", count=scheduled)
        return scheduled

    async def _pages(self, *, before: datetime) -> AsyncIterator[Sequence[Delivery]]:
        """Yields the overdue deliveries: all at once when a page takes them, else each shard's, page by page."""
        due = partial(self.store.due, before=before, limit=PAGE)
        page = await due(range(SHARDS))
        if len(page) < PAGE:
            yield page
            return
        for shard in range(SHARDS):
            for _ in range(MAX_PAGES):
                page = await due([shard])
                yield page
                if len(page) < PAGE:
                    break

    async def recover(self) -> None:
        """Ends the leases of a worker that is known to have died, and schedules its deliveries at once."""
        now = self.clock.now()
        for shard in range(SHARDS):
            for delivery in await self.store.due([shard], before=now + LEASE, limit=PAGE):
                if delivery.is_claimed:
                    await self._repair(delivery, now)

    async def _repair(self, delivery: Delivery, now: datetime) -> None:
        """Asks for a task of another name for each time that the delivery was due: the first one's may be used up."""
        assert delivery.due_at is not None
        task = task_of(delivery, f"sweep-{round(delivery.due_at.timestamp() * 1000)}")
        await self.scheduler.schedule(task, at=now)
        await self.store.save(delivery.postponed(now + min(max(now - delivery.at, MIN_PAUSE), MAX_PAUSE)))
