"""Exports and deletes all that is stored of one user, for operators who answer a person's request."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import Struct

from shared import log
from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.domain.status import Kind
from shared.domain.usage_sums import exported_sums
from shared.domain.webhook import SUBMIT
from shared.domain.webhook_views import delivery_object
from shared.errors import RunNotFound
from shared.ports import (
    Directory,
    ResultCache,
    RunFilter,
    RunPosition,
    RunStore,
    UsageSums,
    UserRecords,
    WebhookStore,
)
from shared.usecases.cancel import CancelRun
from shared.usecases.save_final_run import cache_key

PAGE = 100


class Forgotten(Struct, frozen=True, kw_only=True):
    """Counts a user's runs by status, and names the documents that this release cannot read, which stay."""

    runs: Mapping[str, int]
    run_ids: tuple[str, ...]
    unreadable: tuple[str, ...]
    profile: bool


class ForgetUser(Struct, frozen=True, kw_only=True):
    store: RunStore
    directory: Directory
    users: UserRecords
    usage: UsageSums
    cache: ResultCache
    webhooks: WebhookStore
    cancel: CancelRun

    async def count(self, user_id: str) -> Forgotten:
        """Returns what `__call__` would delete."""
        has_profile = await self.directory.profile(user_id) is not None
        return await self._each_run(user_id, has_profile, is_deleted=False)

    async def export(self, user_id: str) -> AsyncIterator[tuple[Run, Mapping[str, Any]]]:
        """Yields the user's runs, each with its result and its input, newest first."""
        async for runs, _ in self._pages(user_id):
            for run in runs:
                whole = await self.store.get(run.id)
                yield whole, await self.store.load_input(whole)

    async def export_webhooks(self, run: Run) -> dict[str, Any]:
        """Returns {webhook?: that of the submit, deliveries?: those of the run} as JSON objects."""
        own = [target for target in run.webhooks if target.endpoint_id == SUBMIT]
        deliveries = [delivery_object(delivery) for delivery in await self.webhooks.of_run(run.id)]
        webhook = {"url": own[0].url, "events": list(own[0].events)} if own else None
        return {**({"webhook": webhook} if webhook else {}), **({"deliveries": deliveries} if deliveries else {})}

    async def export_usage(self, user_id: str) -> list[dict[str, Any]]:
        """Returns the user's sums of usage as JSON objects, ordered by day."""
        return exported_sums(await self.usage.of_user(user_id))

    async def __call__(self, user_id: str) -> Forgotten:
        """Cancels the user's open runs, deletes all runs and the profile, and returns what was deleted.

        The sums of usage stay without the user's id.

        The profile goes first, so that the user can submit nothing more. Repeating it continues where it broke off.
        """
        had_profile = await self.users.forget_profile(user_id)
        forgotten = await self._each_run(user_id, had_profile, is_deleted=True)
        await self.usage.forget_user(user_id)
        log.info("user forgotten", runs=sum(forgotten.runs.values()))
        return forgotten

    async def _each_run(self, user_id: str, has_profile: bool, *, is_deleted: bool) -> Forgotten:
        counted, run_ids, unreadable = Counter[str](), list[str](), list[str]()
        async for runs, ids in self._pages(user_id):
            unreadable.extend(ids)
            for run in runs:
                counted[run.status] += 1
                run_ids.append(run.id)
                if is_deleted:
                    await self._forget(run)
        return Forgotten(runs=dict(counted), run_ids=tuple(run_ids), unreadable=tuple(unreadable), profile=has_profile)

    async def _forget(self, run: Run) -> None:
        if not run.is_terminal:
            owner = Profile(user_id=run.user_id, organization_id=run.tenant_id)
            try:
                run, _ = await self.cancel(owner, run.id)
            except RunNotFound:
                log.info("run has expired", run_id=run.id)
        await self.cache.delete(cache_key(run.id))
        await self.webhooks.forget_run(run.id)
        await self.store.forget(run)

    async def _pages(self, user_id: str) -> AsyncIterator[tuple[list[Run], list[str]]]:
        wanted = RunFilter(user_id=user_id, kinds=tuple(Kind))
        last: RunPosition | None = None
        while True:
            page = await self.store.list_runs(wanted, limit=PAGE, after=last)
            yield list(page.runs), page.unreadable
            if len(page.positions) < PAGE:
                return
            last = page.positions[-1]
