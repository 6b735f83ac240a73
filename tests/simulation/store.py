"""The run store of one instance: the tables behind a wire, with the promises of the Firestore or the SQLite adapter."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from shared.domain.channel import Channel
from shared.domain.limits import NO_LIMITS, Limits
from shared.domain.run import TERMINAL, Run, Status
from shared.errors import RunNotFound, StaleRun, StoreUnavailable
from shared.ports import IdempotencyRecord, ListCursor, RunFilter
from tests.simulation.history import Commit
from tests.simulation.tables import Row
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
MAX_TRIES = 8
CREATE_SECONDS = 20.0
MAX_PAUSE = 0.5
OPEN = frozenset({Status.PENDING, Status.PROCESSING})


class SimulatedRunStore:
    def __init__(self, world: "World", wire: Wire, *, by: str, firestore: bool) -> None:
        """`by` names the instance in the history."""
        self._world = world
        self._tables = world.tables
        self._history = world.history
        self._wire = wire
        self._by = by
        self._firestore = firestore

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        """Repeats a commit whose answer was lost as the Firestore adapter does: reads first whether it is there."""
        if not self._firestore:
            return await self._call("create", lambda: self._create(run, idempotency, limits), run.id)
        try:
            async with asyncio.timeout(CREATE_SECONDS):
                return await self._create_again_and_again(run, idempotency, limits)
        except TimeoutError as error:
            raise StoreUnavailable from error

    async def _create_again_and_again(
        self, run: Run, idempotency: IdempotencyRecord | None, limits: Limits
    ) -> IdempotencyRecord | None:
        for _ in range(MAX_TRIES):
            try:
                return await self._call("create", lambda: self._create(run, idempotency, limits), run.id)
            except StoreUnavailable:
                if await self._exists(run.id):
                    return None
            await asyncio.sleep(self._world.random.random() * MAX_PAUSE)
        raise StoreUnavailable

    async def get(self, run_id: str, *, with_result: bool = True) -> Run:
        self._history.reads += 1
        return await self._call("get", lambda: self._tables.get(run_id, with_result=with_result), run_id)

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        if run.input_parts == 0:
            return run.input
        content = await self._call("load_input", lambda: self._tables.input_of(run.id), run.id)
        if content is None:
            raise StoreUnavailable
        return content

    async def save(self, run: Run) -> Run:
        return await self._save(run, without_parts=False)

    async def erase(self, run: Run) -> Run:
        return await self._save(run, without_parts=True)

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        return 0

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: ListCursor | None = None
    ) -> Sequence[Run]:
        def matches(row: Row) -> bool:
            place = (row.key("created_at"), row.key("id"))
            return _matches(row, wanted) and (after is None or place < (after.created_at, after.run_id))

        def order(row: Row) -> Any:
            return (-row.key("created_at").timestamp(), [-ord(letter) for letter in row.key("id")])

        found = await self._call("list_runs", lambda: self._tables.select(matches, order=order, limit=limit + offset))
        return found[offset:]

    async def count_runs(self, wanted: RunFilter) -> int:
        return await self._call(
            "count_runs", lambda: sum(_matches(row, wanted) for row in self._tables.rows.values())
        )

    async def due_runs(
        self,
        shard: int,
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: Run | None = None,
        limit: int,
    ) -> Sequence[Run]:
        def is_due(row: Row) -> bool:
            due_at, status = row.key("due_at"), row.key("status")
            if due_at is None or row.key("shard") != shard or status not in (TERMINAL if terminal else OPEN):
                return False
            behind = after is None or (due_at, row.key("id")) > (after.due_at, after.id)
            return behind and (before is None or due_at <= before)

        return await self._call(
            "due_runs", lambda: self._tables.select(is_due, order=_by("due_at"), limit=limit)
        )

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: Run | None = None, limit: int
    ) -> Sequence[Run]:
        def has_changed(row: Row) -> bool:
            updated_at, tenant_id = row.key("updated_at"), channel.tenant_id
            if row.key("channel") != channel.name or (tenant_id is not None and row.key("tenant_id") != tenant_id):
                return False
            behind = after is None or (updated_at, row.key("id")) > (after.updated_at, after.id)
            return behind and updated_at >= since

        return await self._call(
            "changed_runs",
            lambda: self._tables.select(has_changed, order=_by("updated_at"), limit=limit, with_result=True),
        )

    async def _save(self, run: Run, *, without_parts: bool) -> Run:
        """Reads again after a refusal and after a lost answer, as the Firestore adapter does."""
        try:
            return await self._call("save", lambda: self._commit(run, without_parts=without_parts), run.id)
        except (StaleRun, StoreUnavailable) as error:
            if not self._firestore:
                raise
            stored = await self.get(run.id)
            if stored == (run if not run.is_terminal else _without_permit(run)):
                return stored
            raise (error if stored.revision == run.revision else StaleRun()) from None

    async def _exists(self, run_id: str) -> bool:
        try:
            await self.get(run_id)
        except RunNotFound:
            return False
        return True

    async def _call(self, name: str, effect: Callable[[], T], about: str | None = None) -> T:
        return await self._wire.call(f"store.{name}", effect, error=StoreUnavailable, about=about)

    def _create(self, run: Run, idempotency: IdempotencyRecord | None, limits: Limits) -> IdempotencyRecord | None:
        open_runs = self._tables.open_runs(run.tenant_id)
        created = self._tables.create(run, idempotency, limits)
        if not isinstance(created, Run):
            return created
        self._history.commits.append(
            Commit(
                at=self._world.now,
                by=self._by,
                before=None,
                after=created,
                idempotency=idempotency,
                limits=limits,
                open_runs=open_runs,
            )
        )
        return None

    def _commit(self, run: Run, *, without_parts: bool) -> Run:
        before = self._tables.get(run.id)
        saved = self._tables.save(run, without_parts=without_parts)
        self._history.commits.append(Commit(at=self._world.now, by=self._by, before=before, after=saved))
        return saved


def _without_permit(run: Run) -> Run:
    return replace(run, permit=None)


def _by(name: str) -> Callable[[Row], Any]:
    return lambda row: (row.key(name), row.key("id"))


def _matches(row: Row, wanted: RunFilter) -> bool:
    if row.key("user_id") != wanted.user_id or row.key("kind") not in wanted.kinds:
        return False
    names = ("status", "job_type", "question_id")
    return all(getattr(wanted, name) in (None, row.key(name)) for name in names)
