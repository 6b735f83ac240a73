"""Stores runs as Firestore documents: `llm_runs/{id}`, with large inputs and results in `parts` below them.

The client retries a commit whose answer was lost. When the first try had succeeded, the retry fails, so an error does
not prove that nothing was written. After an ambiguous error the store reads the run again and compares: each save
writes an id of its own, `save_id`, since two workers may save the same content at the same moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from google.api_core.exceptions import InvalidArgument, ResourceExhausted
from google.cloud.firestore import AsyncClient, FieldFilter
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, google_errors_as, is_too_large
from shared.adapters.gcp.budgets import BudgetReservation, BudgetTurns, settle_in
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.document import from_firestore, to_firestore
from shared.adapters.gcp.idempotency_keys import IdempotencyKey
from shared.adapters.gcp.permits import RunPermits, release_permit
from shared.adapters.gcp.revision import Revision
from shared.adapters.gcp.run_creation import AMBIGUOUS_ERRORS, RunCreation
from shared.adapters.gcp.run_parts import PARTS, add_parts, read_parts
from shared.adapters.gcp.usage import count_in
from shared.adapters.gcp.webhook_store import put_deliveries_in
from shared.adapters.storage.ending import as_saved
from shared.adapters.storage.parts import INPUT, RESULT, join_parts, parts_required
from shared.adapters.storage.readable import must_be_readable, readable_runs
from shared.domain.budget import reservation
from shared.domain.channel import Channel
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import NO_LIMITS, Limits
from shared.domain.run import Run
from shared.domain.status import TERMINAL, Status
from shared.domain.webhook_delivery import Delivery, new_deliveries
from shared.errors import ResultTooLarge, RunNotFound, StaleRun, StoreUnavailable
from shared.ports import RunFilter, RunPage, RunPosition

RUNS = "llm_runs"
CREATE_TIMEOUT_SECONDS = 20.0
"""All tries together."""
EPOCH = datetime.fromtimestamp(0, UTC)


class FirestoreRunStore:
    def __init__(
        self,
        clients: ClientsByLoop,
        *,
        on_deliveries: Callable[[Sequence[Delivery]], Awaitable[None]] | None = None,
        create_timeout_seconds: float = CREATE_TIMEOUT_SECONDS,
    ) -> None:
        """`on_deliveries` is called with the deliveries of webhooks that a commit has stored."""
        self._clients = clients
        self._on_deliveries = on_deliveries
        self._create_timeout_seconds = create_timeout_seconds
        self._turns = BudgetTurns()

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        firestore, budget = self._firestore, limits.budget if reservation(run) > 0 else None
        creation = RunCreation(
            firestore,
            run,
            reference=self._reference(run.id),
            key=IdempotencyKey(firestore, idempotency, has_failed=self._has_failed) if idempotency else None,
            permits=RunPermits(firestore, run, limits),
            reservation=BudgetReservation(firestore, run, budget) if budget else None,
            exists=self._exists,
        )
        try:
            async with asyncio.timeout(self._create_timeout_seconds):
                holder = await creation(self._turns)
        except TimeoutError as error:
            raise StoreUnavailable from error
        if holder is None:
            await self._announce(new_deliveries(run))
        return holder

    async def get(self, run_id: str, *, with_result: bool = True, or_last_saved: bool = False) -> Run:
        snapshot = await self._snapshot(run_id)
        texts = await self._result_texts(snapshot) if with_result else ()
        with must_be_readable(), parts_required():
            return _to_run(snapshot, texts)

    async def _snapshot(self, run_id: str) -> Any:
        """Returns the run's document as it was read. Raises RunNotFound."""
        async with google_errors_as(StoreUnavailable):
            snapshot = await self._reference(run_id).get(**bounded())
        if not snapshot.exists:
            raise RunNotFound
        return snapshot

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        if run.input_parts == 0:
            return run.input
        texts = await read_parts(self._firestore, self._reference(run.id), INPUT, run.input_parts)
        with parts_required():
            content: Mapping[str, Any] = join_parts(texts)
        return content

    async def save(self, run: Run) -> Run:
        return await self._save_and_announce(run, deleted_parts=[])

    async def erase(self, run: Run) -> Run:
        return await self._save_and_announce(run, deleted_parts=await self._parts(run))

    async def _save_and_announce(self, run: Run, *, deleted_parts: Sequence[Any]) -> Run:
        saved = await self._save(run, deleted_parts=deleted_parts)
        await self._announce(new_deliveries(run))
        return saved

    async def _announce(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries and self._on_deliveries is not None:
            await self._on_deliveries(deliveries)

    async def forget(self, run: Run) -> None:
        batch = self._firestore.batch()
        for reference in (*await self._parts(run), self._reference(run.id)):
            batch.delete(reference)
        release_permit(batch, self._firestore, run)
        async with google_errors_as(StoreUnavailable):
            await batch.commit(**bounded())

    async def _parts(self, run: Run) -> list[Any]:
        async with google_errors_as(StoreUnavailable):
            return [part async for part in self._reference(run.id).collection(PARTS).list_documents(**bounded())]

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        """Deletes nothing and returns 0: Firestore's TTL policies delete expired documents.

        They are set in infra/firestore.indexes.json.
        """
        return 0

    async def _save(self, run: Run, *, deleted_parts: Sequence[Any]) -> Run:
        """`deleted_parts` are the references of the part documents to delete in the same commit."""
        batch, reference = self._firestore.batch(), self._reference(run.id)
        stored = as_saved(run)
        document, parts = to_firestore(stored)
        document["save_id"] = uuid4().hex
        unchanged = self._firestore.write_option(last_update_time=run.revision.update_time)
        batch.update(reference, run.revision.changes(document), option=unchanged)
        if run.is_terminal:
            release_permit(batch, self._firestore, run)
            settle_in(batch, self._firestore, run)
            count_in(batch, self._firestore, run)
        put_deliveries_in(batch, self._firestore, new_deliveries(run))
        add_parts(batch, reference, run, RESULT, parts)
        for part in deleted_parts:
            batch.delete(part)
        try:
            async with google_errors_as(StoreUnavailable):
                return await self._commit_save(batch, stored, document)
        except StoreUnavailable:
            return await self._resolve_failed_save(stored, document, if_unchanged=StoreUnavailable())

    async def _commit_save(self, batch: AsyncWriteBatch, run: Run, document: Mapping[str, Any]) -> Run:
        try:
            result, *_ = await batch.commit(**bounded())
        except (*AMBIGUOUS_ERRORS, ResourceExhausted) as error:
            if isinstance(error, ResourceExhausted) and not is_too_large(error):
                raise
            is_refused = isinstance(error, InvalidArgument | ResourceExhausted)
            if_unchanged = ResultTooLarge() if is_refused else StaleRun()
            return await self._resolve_failed_save(run, document, if_unchanged=if_unchanged)
        return replace(run, revision=run.revision.followed_by(result.update_time, document))

    async def _resolve_failed_save(self, run: Run, document: Mapping[str, Any], *, if_unchanged: Exception) -> Run:
        """Reads the document after a failed commit, and returns the run when the commit was written after all.

        Raises `if_unchanged` when the stored run is still the one that was read before, and StaleRun when another
        writer has changed it.
        """
        stored = await self._snapshot(run.id)
        if stored.to_dict().get("save_id") == document["save_id"]:
            return replace(run, revision=run.revision.followed_by(stored.update_time, document))
        raise if_unchanged if stored.update_time == run.revision.update_time else StaleRun

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: RunPosition | None = None
    ) -> RunPage:
        query = (
            self._filter_query(wanted)
            .order_by("created_at", direction="DESCENDING")
            .order_by("__name__", direction="DESCENDING")
        )
        if after is not None:
            query = query.start_after({"created_at": after.at, "__name__": self._reference(after.run_id)})
        return await self._page(query.offset(offset).limit(limit), ordered_by="created_at")

    async def count_runs(self, wanted: RunFilter, *, at_most: int) -> int:
        """Firestore bills a read for each 1,000 runs that it counts."""
        return await self._count(self._filter_query(wanted).limit(at_most))

    async def due_runs(
        self,
        shards: Sequence[int],
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: RunPosition | None = None,
        limit: int,
    ) -> RunPage:
        statuses = [status.value for status in Status if (status in TERMINAL) is terminal]
        query = self._firestore.collection(RUNS).where(filter=FieldFilter("shard", "in", list(shards)))
        query = query.where(filter=FieldFilter("status", "in", statuses))
        if before is not None:
            query = query.where(filter=FieldFilter("due_at", "<=", before))
        else:
            query = query.where(filter=FieldFilter("due_at", ">", EPOCH))  # excludes runs without due_at
        query = query.order_by("due_at").order_by("__name__")
        if after is not None:
            query = query.start_after({"due_at": after.at, "__name__": self._reference(after.run_id)})
        return await self._page(query.limit(limit), ordered_by="due_at")

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: RunPosition | None = None, limit: int
    ) -> RunPage:
        query = self.changes_query(channel, since=since).order_by("__name__")
        if after is not None:
            query = query.start_after({"updated_at": after.at, "__name__": self._reference(after.run_id)})
        return await self._page(query.limit(limit), ordered_by="updated_at")

    def changes_query(self, channel: Channel, *, since: datetime) -> Any:
        """Returns the query of a channel's runs with `updated_at` at or after `since`. The watcher listens to it."""
        query = self._firestore.collection(RUNS).where(filter=FieldFilter("channel", "==", channel.name))
        if channel.tenant_id is not None:
            query = query.where(filter=FieldFilter("tenant_id", "==", channel.tenant_id))
        return query.where(filter=FieldFilter("updated_at", ">=", since)).order_by("updated_at")

    def _filter_query(self, wanted: RunFilter) -> Any:
        query = self._firestore.collection(RUNS).where(filter=FieldFilter("user_id", "==", wanted.user_id))
        query = query.where(filter=FieldFilter("kind", "in", [kind.value for kind in wanted.kinds]))
        for name in ("status", "job_type", "question_id"):
            value = getattr(wanted, name)
            if value is not None:
                query = query.where(filter=FieldFilter(name, "==", str(value)))
        return query

    async def _page(self, query: Any, *, ordered_by: str) -> RunPage:
        """Returns the query's runs without large results; `ordered_by` is the field of the positions."""
        async with google_errors_as(StoreUnavailable):
            snapshots = [snapshot async for snapshot in query.stream(**bounded())]
        runs = list(readable_runs(snapshots, lambda snapshot: _to_run(snapshot, ())))
        positions = [RunPosition(at=snapshot.get(ordered_by), run_id=snapshot.id) for snapshot in snapshots]
        return RunPage(runs=runs, positions=positions)

    async def _count(self, query: Any) -> int:
        async with google_errors_as(StoreUnavailable):
            [[total]] = await query.count().get(**bounded())
        return int(total.value)

    async def _result_texts(self, snapshot: Any) -> list[str | None]:
        """Returns the texts of the result's parts; an empty list when the run has no parts of a result."""
        count = snapshot.to_dict().get("result_parts", 0)
        return await read_parts(self._firestore, snapshot.reference, RESULT, count)

    async def _exists(self, run_id: str) -> bool:
        try:
            await self.get(run_id, with_result=False)
        except RunNotFound:
            return False
        return True

    async def _has_failed(self, run_id: str) -> bool:
        """Returns True when the run failed or does not exist."""
        try:
            return (await self.get(run_id, with_result=False)).status is Status.FAILED
        except RunNotFound:
            return True

    @property
    def _firestore(self) -> AsyncClient:
        return self._clients().firestore

    def _reference(self, run_id: str) -> Any:
        """Returns the reference of the run's document."""
        return self._firestore.collection(RUNS).document(run_id)


def _to_run(snapshot: Any, result_texts: Sequence[str | None]) -> Run:
    """Returns the run, with the result of `result_texts` unless that is empty. Raises PartsMissing."""
    result = join_parts(result_texts) if result_texts else None
    document = snapshot.to_dict()
    run = from_firestore(document, revision=Revision(snapshot.update_time, document), result=result)
    return replace(run, clock_offset=snapshot.read_time - datetime.now(UTC))
