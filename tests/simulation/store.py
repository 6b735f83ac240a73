"""The run store of one instance: the tables behind calls that may fail, with the promises of one of the adapters."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from shared.adapters.storage.ending import as_saved
from shared.adapters.storage.last_saved import LastSavedRuns
from shared.adapters.storage.readable import must_be_readable
from shared.domain.channel import Channel
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import NO_LIMITS, Limits
from shared.domain.run import Run
from shared.domain.status import TERMINAL, Status
from shared.domain.webhook_delivery import Delivery, new_deliveries
from shared.errors import RunNotFound, StaleRun, StoreUnavailable
from shared.ports import RunFilter, RunPage, RunPosition
from tests.simulation.calls import Calls
from tests.simulation.history import Commit
from tests.simulation.instance import EPOCH, Instance
from tests.simulation.llm import script_id_in
from tests.simulation.tables import Row

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
MAX_CREATE_TRIES = 8
CREATE_TIMEOUT_SECONDS = 20.0
MAX_RETRY_PAUSE_SECONDS = 0.5
OPEN = frozenset(Status) - TERMINAL


class SimulatedRunStore:
    def __init__(
        self,
        world: "World",
        calls: Calls,
        instance: Instance,
        *,
        firestore: bool,
        announce: Callable[[Sequence[Delivery]], Awaitable[None]],
    ) -> None:
        """`announce` schedules the deliveries of webhooks that a commit has stored."""
        self._world = world
        self._tables = world.tables
        self._history = world.history
        self._calls = calls
        self._instance = instance
        self._firestore = firestore
        self._announce = announce
        self._last_saved = LastSavedRuns()

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        """Repeats a commit whose answer was lost as the Firestore adapter does: reads first whether it is there."""
        holder = await self._create_once(run, idempotency, limits)
        if holder is None:
            await self._announce(new_deliveries(run))
        return holder

    async def _create_once(
        self, run: Run, idempotency: IdempotencyRecord | None, limits: Limits
    ) -> IdempotencyRecord | None:
        if not self._firestore:
            created = await self._call("create", lambda: self._create(run, idempotency, limits), run.id)
            if isinstance(created, Run):
                self._last_saved.put(created)
                return None
            return created
        try:
            async with asyncio.timeout(CREATE_TIMEOUT_SECONDS):
                return await self._create_again_and_again(run, idempotency, limits)
        except TimeoutError as error:
            raise StoreUnavailable from error

    async def _create_again_and_again(
        self, run: Run, idempotency: IdempotencyRecord | None, limits: Limits
    ) -> IdempotencyRecord | None:
        for _ in range(MAX_CREATE_TRIES):
            try:
                created = await self._call("create", lambda: self._create(run, idempotency, limits), run.id)
                return None if isinstance(created, Run) else created
            except StoreUnavailable:
                if await self._exists(run.id):
                    return None
            await asyncio.sleep(self._world.random.random() * MAX_RETRY_PAUSE_SECONDS)
        raise StoreUnavailable

    async def get(self, run_id: str, *, with_result: bool = True, or_last_saved: bool = False) -> Run:
        """Sets `clock_offset` as the Firestore adapter does; a SQLite file has the clock of its only machine.

        Only the SQLite adapter returns what this instance has saved, also when others have saved the run since.
        """
        if or_last_saved and (known := self._last_saved.take(run_id)) is not None:
            return known

        def read() -> tuple[Run, datetime]:
            with must_be_readable():
                return self._tables.get(run_id, with_result=with_result), self._store_time()

        run, read_at = await self._call("get", read, run_id)
        if or_last_saved and not self._firestore:
            self._last_saved.put_read(run)
        return replace(run, clock_offset=read_at - self._instance.clock.now()) if self._firestore else run

    def _store_time(self) -> datetime:
        return EPOCH + timedelta(seconds=self._world.now)

    async def load_input(self, run: Run) -> Mapping[str, object]:
        if run.input_parts == 0:
            return run.input
        content = await self._call("load_input", lambda: self._tables.input_of(run.id), run.id)
        if content is None:
            raise StoreUnavailable
        return content

    async def save(self, run: Run) -> Run:
        saved = await self._save(run, without_parts=False)
        await self._announce(new_deliveries(run))
        return saved

    async def erase(self, run: Run) -> Run:
        return await self._save(run, without_parts=True)

    async def forget(self, run: Run) -> None:
        raise AssertionError("no operator deletes a user in a simulation")

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        return 0

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: RunPosition | None = None
    ) -> RunPage:
        def matches(row: Row) -> bool:
            position = (row.key("created_at"), row.key("id"))
            return _matches(row, wanted) and (after is None or position < (after.at, after.run_id))

        return await self._call(
            "list_runs",
            lambda: self._tables.select(matches, ordered_by="created_at", limit=limit, offset=offset, descending=True),
        )

    async def count_runs(self, wanted: RunFilter, *, at_most: int) -> int:
        def count() -> int:
            return min(at_most, sum(_matches(row, wanted) for row in self._tables.rows.values()))

        return await self._call("count_runs", count)

    async def due_runs(
        self,
        shards: Sequence[int],
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: RunPosition | None = None,
        limit: int,
    ) -> RunPage:
        def is_due(row: Row) -> bool:
            due_at, has_status = row.key("due_at"), row.key("status") in (TERMINAL if terminal else OPEN)
            if due_at is None or row.key("shard") not in shards or not has_status:
                return False
            is_behind = after is None or (due_at, row.key("id")) > (after.at, after.run_id)
            return is_behind and (before is None or due_at <= before)

        def read() -> tuple[RunPage, datetime]:
            return self._tables.select(is_due, ordered_by="due_at", limit=limit), self._store_time()

        page, read_at = await self._call("due_runs", read)
        offset = read_at - self._instance.clock.now()
        return replace(page, runs=[replace(run, clock_offset=offset) for run in page.runs]) if self._firestore else page

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: RunPosition | None = None, limit: int
    ) -> RunPage:
        def has_changed(row: Row) -> bool:
            updated_at, tenant_id = row.key("updated_at"), channel.tenant_id
            if row.key("channel") != channel.name or (tenant_id is not None and row.key("tenant_id") != tenant_id):
                return False
            is_behind = after is None or (updated_at, row.key("id")) > (after.at, after.run_id)
            return is_behind and updated_at >= since

        return await self._call(
            "changed_runs", lambda: self._tables.select(has_changed, ordered_by="updated_at", limit=limit)
        )

    async def _save(self, run: Run, *, without_parts: bool) -> Run:
        """Reads again after a refusal and after a lost answer, as the Firestore adapter does."""
        save_id = object()
        self._last_saved.drop(run.id)
        try:
            saved = await self._call("save", lambda: self._commit(run, save_id, without_parts=without_parts), run.id)
        except (StaleRun, StoreUnavailable) as error:
            if not self._firestore:
                raise
            stored, stored_id = await self._call("get", lambda: self._tables.revision_of(run.id), run.id)
            if stored_id is save_id:
                return replace(as_saved(run), revision=stored)
            raise (error if stored == run.revision else StaleRun()) from None
        if not self._firestore:
            self._last_saved.put(saved)
        return saved

    async def _exists(self, run_id: str) -> bool:
        try:
            await self.get(run_id)
        except RunNotFound:
            return False
        return True

    async def _call(self, name: str, effect: Callable[[], T], about: str | None = None) -> T:
        return await self._calls.call(f"store.{name}", effect, error=StoreUnavailable, about=about)

    def _create(
        self, run: Run, idempotency: IdempotencyRecord | None, limits: Limits
    ) -> IdempotencyRecord | Run | None:
        open_runs = self._tables.open_runs(run.tenant_id)
        created = self._tables.create(run, idempotency, limits)
        if not isinstance(created, Run):
            return created
        self._history.script_ids[run.id] = script_id_in(str(run.input))
        self._history.commits.append(
            Commit(
                at=self._world.now,
                by=self._instance.name,
                before=None,
                after=created,
                idempotency=idempotency,
                limits=limits,
                open_runs=open_runs,
            )
        )
        return created

    def _commit(self, run: Run, save_id: object, *, without_parts: bool) -> Run:
        before = self._tables.get(run.id)
        saved = self._tables.save(run, save_id, without_parts=without_parts)
        self._history.commits.append(Commit(at=self._world.now, by=self._instance.name, before=before, after=saved))
        return saved


def _matches(row: Row, wanted: RunFilter) -> bool:
    if row.key("user_id") != wanted.user_id or row.key("kind") not in wanted.kinds:
        return False
    names = ("status", "job_type", "question_id")
    return all(getattr(wanted, name) in (None, row.key(name)) for name in names)
