"""Runs as Firestore documents: `llm_runs/{id}`, large inputs and results in their `parts`, keys in `idempotency_keys`.

A commit whose answer was lost is retried by the client and then fails on its own first success. So an error is no
proof that nothing was written: whatever is in doubt is read again and compared.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from random import uniform
from typing import Any

from google.api_core.exceptions import Conflict, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from google.cloud.firestore import AsyncClient, FieldFilter
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, calling, is_too_large
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.document import from_firestore, to_firestore
from shared.adapters.gcp.permits import Permits, give_back
from shared.adapters.gcp.run_parts import PARTS, add_parts, part_texts
from shared.adapters.storage.parts import INPUT, RESULT, joined, parts_wanted, without_large_input
from shared.adapters.storage.readable import readable
from shared.domain.channel import Channel
from shared.domain.limits import NO_LIMITS, Limits
from shared.domain.run import TERMINAL, Run, Status
from shared.errors import IdempotencyKeyBusy, ResultTooLarge, RunNotFound, StaleRun, StoreUnavailable
from shared.ports import IdempotencyRecord, ListCursor, RunFilter

RUNS = "llm_runs"
KEYS = "idempotency_keys"
MAX_TRIES = 8
CREATE_SECONDS = 20.0
"""All tries together."""
MAX_PAUSE_SECONDS = 0.5
EPOCH = datetime.fromtimestamp(0, UTC)
_IN_DOUBT = (Conflict, FailedPrecondition, InvalidArgument, NotFound)
"""Conflict is AlreadyExists too."""


class FirestoreRunStore:
    def __init__(self, clients: ClientsByLoop, *, create_seconds: float = CREATE_SECONDS) -> None:
        self._clients = clients
        self._create_seconds = create_seconds

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        try:
            async with asyncio.timeout(self._create_seconds):
                return await self._create(run, idempotency, Permits(self._firestore, run, limits))
        except TimeoutError as error:
            raise StoreUnavailable from error

    async def _create(
        self, run: Run, idempotency: IdempotencyRecord | None, permits: Permits
    ) -> IdempotencyRecord | None:
        """Whether the key, a permit or the store was in the way of a commit, is read afterwards: errors do not tell."""
        taken_at: Any = None
        key_is_busy = False
        for _ in range(MAX_TRIES):
            if await self._try_to_create(run, permits, idempotency, taken_at):
                return None
            if idempotency is not None:
                before = taken_at
                taken, taken_at = await self._living_record(idempotency, now=run.created_at)
                if taken is not None:
                    return taken
                key_is_busy = taken_at != before
            await permits.draw_again()
        raise IdempotencyKeyBusy if key_is_busy else StoreUnavailable

    async def get(self, run_id: str, *, with_result: bool = True) -> Run:
        async with calling(StoreUnavailable):
            snapshot = await self._run(run_id).get(**bounded())
        if not snapshot.exists:
            raise RunNotFound
        texts = await self._result_texts(snapshot) if with_result else ()
        with parts_wanted():
            return _run(snapshot, texts)

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        if run.input_parts == 0:
            return run.input
        texts = await part_texts(self._firestore, self._run(run.id), INPUT, run.input_parts)
        with parts_wanted():
            content: Mapping[str, Any] = joined(texts)
        return content

    async def save(self, run: Run) -> Run:
        return await self._save(run, without_parts=[])

    async def erase(self, run: Run) -> Run:
        async with calling(StoreUnavailable):
            parts = [part async for part in self._run(run.id).collection(PARTS).list_documents(**bounded())]
        return await self._save(run, without_parts=parts)

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        """Firestore's TTL policies do it (infra/firestore.indexes.json)."""
        return 0

    async def _save(self, run: Run, *, without_parts: Sequence[Any]) -> Run:
        batch, reference = self._firestore.batch(), self._run(run.id)
        kept = replace(run, permit=None) if run.is_terminal else run
        document, parts = to_firestore(kept)
        batch.update(reference, document, option=self._if_unchanged_since(run.revision))
        if run.is_terminal:
            give_back(batch, self._firestore, run)
        add_parts(batch, reference, run, RESULT, parts)
        for part in without_parts:
            batch.delete(part)
        try:
            async with calling(StoreUnavailable):
                return await self._commit_save(batch, kept)
        except StoreUnavailable:
            return await self._saved_after_all(kept, or_else=StoreUnavailable())

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: ListCursor | None = None
    ) -> Sequence[Run]:
        query = (
            self._matching(wanted)
            .order_by("created_at", direction="DESCENDING")
            .order_by("__name__", direction="DESCENDING")
        )
        if after is not None:
            query = query.start_after({"created_at": after.created_at, "__name__": self._run(after.run_id)})
        return await self._found(query.offset(offset).limit(limit))

    async def count_runs(self, wanted: RunFilter) -> int:
        return await self._counted(self._matching(wanted))

    async def due_runs(
        self,
        shard: int,
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: Run | None = None,
        limit: int,
    ) -> Sequence[Run]:
        statuses = [status.value for status in Status if (status in TERMINAL) is terminal]
        query = self._firestore.collection(RUNS).where(filter=FieldFilter("shard", "==", shard))
        query = query.where(filter=FieldFilter("status", "in", statuses))
        if before is not None:
            query = query.where(filter=FieldFilter("due_at", "<=", before))
        else:
            query = query.where(filter=FieldFilter("due_at", ">", EPOCH))
        query = query.order_by("due_at").order_by("__name__")
        if after is not None:
            query = query.start_after({"due_at": after.due_at, "__name__": self._run(after.id)})
        return await self._found(query.limit(limit))

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: Run | None = None, limit: int
    ) -> Sequence[Run]:
        query = self.changes(channel, since=since).order_by("__name__")
        if after is not None:
            query = query.start_after({"updated_at": after.updated_at, "__name__": self._run(after.id)})
        return await self._found(query.limit(limit), with_result=True)

    def changes(self, channel: Channel, *, since: datetime) -> Any:
        """The query of a channel's runs; the watcher listens to it."""
        query = self._firestore.collection(RUNS).where(filter=FieldFilter("channel", "==", channel.name))
        if channel.tenant_id is not None:
            query = query.where(filter=FieldFilter("tenant_id", "==", channel.tenant_id))
        return query.where(filter=FieldFilter("updated_at", ">=", since)).order_by("updated_at")

    @property
    def _firestore(self) -> AsyncClient:
        return self._clients().firestore

    def _run(self, run_id: str) -> Any:
        return self._firestore.collection(RUNS).document(run_id)

    def _if_unchanged_since(self, update_time: Any) -> Any:
        return self._firestore.write_option(last_update_time=update_time)

    async def _found(self, query: Any, *, with_result: bool = False) -> list[Run]:
        """Large results are left out unless they are wanted."""
        async with calling(StoreUnavailable):
            snapshots = [snapshot async for snapshot in query.stream(**bounded())]
        texts: Sequence[Sequence[str | None]] = [()] * len(snapshots)
        if with_result:
            texts = await asyncio.gather(*[self._result_texts(snapshot) for snapshot in snapshots])
        return list(readable(zip(snapshots, texts, strict=True), lambda found: _run(*found)))

    async def _result_texts(self, snapshot: Any) -> list[str | None]:
        """None of them when the document has its result in itself, or has none."""
        count = snapshot.to_dict().get("result_parts", 0)
        return await part_texts(self._firestore, snapshot.reference, RESULT, count)

    async def _counted(self, query: Any) -> int:
        async with calling(StoreUnavailable):
            [[total]] = await query.count().get(**bounded())
        return int(total.value)

    def _matching(self, wanted: RunFilter) -> Any:
        query = self._firestore.collection(RUNS).where(filter=FieldFilter("user_id", "==", wanted.user_id))
        query = query.where(filter=FieldFilter("kind", "in", [kind.value for kind in wanted.kinds]))
        for name in ("status", "job_type", "question_id"):
            value = getattr(wanted, name)
            if value is not None:
                query = query.where(filter=FieldFilter(name, "==", str(value)))
        return query

    async def _try_to_create(
        self, run: Run, permits: Permits, idempotency: IdempotencyRecord | None, taken_at: Any
    ) -> bool:
        """False when the idempotency key, a permit, or a run of this id is in the way, or the store refused for now."""
        stored, parts = without_large_input(replace(run, permit=permits.number))
        batch, reference = self._firestore.batch(), self._run(run.id)
        document, _ = to_firestore(stored)
        batch.create(reference, document)
        permits.add_to(batch)
        add_parts(batch, reference, run, INPUT, parts)
        if idempotency is not None:
            self._add_key(batch, idempotency, taken_at)
        try:
            async with calling(StoreUnavailable):
                try:
                    await batch.commit(**bounded())
                except _IN_DOUBT:
                    return await self._exists(run.id)
        except StoreUnavailable:  # a crowd that wants the same places can look like this
            await asyncio.sleep(uniform(0, MAX_PAUSE_SECONDS))
            return await self._exists(run.id)
        return True

    def _add_key(self, batch: AsyncWriteBatch, record: IdempotencyRecord, taken_at: Any) -> None:
        """Claims a key that is free; or, when it was last written at `taken_at` by a run that lost it, that one."""
        reference = self._firestore.collection(KEYS).document(record.key_hash)
        if taken_at is None:
            batch.create(reference, asdict(record))
        else:
            batch.update(reference, asdict(record), option=self._if_unchanged_since(taken_at))

    async def _living_record(self, wanted: IdempotencyRecord, *, now: datetime) -> tuple[IdempotencyRecord | None, Any]:
        """(the record that has the key and keeps it, None otherwise; when it was written)."""
        async with calling(StoreUnavailable):
            snapshot = await self._firestore.collection(KEYS).document(wanted.key_hash).get(**bounded())
        if not snapshot.exists:
            return None, None
        record = IdempotencyRecord(**(snapshot.to_dict() or {}))
        if record.expires_at <= now:
            return None, snapshot.update_time
        try:
            failed = (await self.get(record.run_id, with_result=False)).status is Status.FAILED
        except RunNotFound:
            failed = True
        return (None, snapshot.update_time) if failed else (record, None)

    async def _exists(self, run_id: str) -> bool:
        try:
            await self.get(run_id, with_result=False)
        except RunNotFound:
            return False
        return True

    async def _commit_save(self, batch: AsyncWriteBatch, run: Run) -> Run:
        try:
            result, *_ = await batch.commit(**bounded())
        except (*_IN_DOUBT, ResourceExhausted) as error:
            if isinstance(error, ResourceExhausted) and not is_too_large(error):
                raise
            is_refused = isinstance(error, InvalidArgument | ResourceExhausted)
            return await self._saved_after_all(run, or_else=ResultTooLarge() if is_refused else StaleRun())
        return replace(run, revision=result.update_time)

    async def _saved_after_all(self, run: Run, *, or_else: Exception) -> Run:
        """What is stored, if it is this very run; `or_else` when it is still the one before; StaleRun otherwise."""
        stored = await self.get(run.id)
        if stored == run:
            return stored
        raise or_else if stored.revision == run.revision else StaleRun


def _run(snapshot: Any, result_texts: Sequence[str | None]) -> Run:
    """Raises PartsMissing."""
    result = joined(result_texts) if result_texts else None
    return from_firestore(snapshot.to_dict(), revision=snapshot.update_time, result=result)
