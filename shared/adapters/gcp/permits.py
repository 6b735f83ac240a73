"""Enforces limits with permits: documents `permits/{scope}-{number}` that are created in the commit that creates a run.

A limit of n has the permits 0 to n-1, and each can be held once. A run acquires randomly chosen permits, so that
concurrent commits rarely write the same document; a counter document would be written by all of them. A permit for an
open run is deleted by the commit that ends the run. A permit for a submit in one minute is deleted by Firestore's TTL
after the minute. TTL can be late by a day, so an expired permit counts as available.

Runs that were accepted before a limit was lowered or first set may hold a higher number or no permit. They are not
counted: the new limit holds for the runs accepted from then on.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from random import choice, randrange, sample
from typing import Any

from google.cloud.firestore import AsyncClient, FieldFilter
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch
from msgspec import Struct

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.domain.frozen import replace
from shared.domain.limits import WINDOW, Limits, minute_of, too_many_open_runs, too_many_submits
from shared.domain.run import Run
from shared.errors import StoreUnavailable, TooManyRuns

PERMITS = "permits"
SAMPLE_SIZES = (8, 32, 128)
"""How many further permits the first, second and third read takes, before a query lists all of them."""
MAX_EXPIRED_READ = 32
"""Expired permits that one query returns."""


class Permit(Struct, frozen=True, kw_only=True):
    """One of `maximum` permits of a scope. A scope is one user's minute, or one tenant's open runs."""

    scope: str
    maximum: int
    number: int
    """0 to maximum - 1."""
    expires_at: datetime
    error: TooManyRuns
    """What to raise when no permit of the scope is available."""
    expired_update_time: Any = None
    """The update time of the expired document with this number; None when there is no such document."""

    @property
    def document_id(self) -> str:
        return _document_id(self.scope, self.number)


class RunPermits:
    """The permits that one new run needs: one for its submit and one for an open run, each only if it is limited."""

    def __init__(self, firestore: AsyncClient, run: Run, limits: Limits) -> None:
        self._firestore = firestore
        self._run = run
        self._submit = _submit_permit(run, limits.submits_a_minute)
        self._open_run = _open_run_permit(run, limits.open_runs)

    @property
    def open_run_number(self) -> int | None:
        """The number that the run must store, so that its last commit can release the permit."""
        return self._open_run.number if self._open_run else None

    def acquire_in(self, batch: AsyncWriteBatch) -> None:
        """Adds writes that make the commit fail when another run holds one of the permits."""
        for permit in filter(None, (self._submit, self._open_run)):
            reference = self._collection.document(permit.document_id)
            values = {"scope": permit.scope, "run_id": self._run.id, "expires_at": permit.expires_at}
            if permit.expired_update_time is None:
                batch.create(reference, values)
            else:
                option = self._firestore.write_option(last_update_time=permit.expired_update_time)
                batch.update(reference, values, option=option)

    async def choose_available(self) -> None:
        """Replaces a permit that another run holds by an available one; call it after a failed commit.

        A permit that is still available stays. Raises TooManyRuns when a scope has no available permit.
        """
        if self._submit is not None:
            self._submit = await self._find_available(self._submit)
        if self._open_run is not None:
            self._open_run = await self._find_available(self._open_run)

    async def _find_available(self, permit: Permit) -> Permit:
        """Returns `permit` itself or another available permit of its scope.

        Reads random samples of growing size, and lists all permits only when no sample has an available one.
        """
        unread = set(range(permit.maximum))
        numbers = {permit.number}
        for attempt, size in enumerate(SAMPLE_SIZES):
            numbers |= set(sample(sorted(unread), min(size, len(unread))))
            available = await self._available_of(permit, numbers)
            if not available and attempt == 0:
                available = await self._expired_if_exhausted(permit)
            if available:
                return next((one for one in available if one.number == permit.number), choice(available))
            unread -= numbers
            numbers = set()
            if not unread:
                raise permit.error
        return await self._find_in_list(permit)

    async def _available_of(self, permit: Permit, numbers: Iterable[int]) -> list[Permit]:
        """Returns the permits of these numbers that do not exist or are expired."""
        references = [self._collection.document(_document_id(permit.scope, number)) for number in numbers]
        async with google_errors_as(StoreUnavailable):
            snapshots = [snapshot async for snapshot in self._firestore.get_all(references, **bounded())]
        return [_permit_of(permit, one) for one in snapshots if not one.exists or one.get("expires_at") <= self._now]

    async def _expired_if_exhausted(self, permit: Permit) -> list[Permit]:
        """Returns expired permits when all permits of the scope exist, and an empty list when some do not exist.

        Raises TooManyRuns when all exist and none is expired.
        """
        async with google_errors_as(StoreUnavailable):
            [[total]] = await existing_permits(self._collection, permit).count().get(**bounded())
            if total.value < permit.maximum:
                return []
            query = expired_permits(self._collection, permit, self._now).limit(MAX_EXPIRED_READ)
            expired = [_permit_of(permit, snapshot) async for snapshot in query.stream(**bounded())]
        available = [one for one in expired if one.number < permit.maximum]
        if not available:
            raise permit.error
        return available

    async def _find_in_list(self, permit: Permit) -> Permit:
        """Lists all permits of the scope and returns one that does not exist. Raises TooManyRuns when all exist."""
        async with google_errors_as(StoreUnavailable):
            query = existing_permits(self._collection, permit).select([])
            existing = {snapshot.id async for snapshot in query.stream(**bounded())}
        available = [number for number in range(permit.maximum) if _document_id(permit.scope, number) not in existing]
        if not available:
            raise permit.error
        return replace(permit, number=choice(available), expired_update_time=None)

    @property
    def _now(self) -> datetime:
        return self._run.created_at

    @property
    def _collection(self) -> Any:
        return self._firestore.collection(PERMITS)


def existing_permits(collection: Any, permit: Permit) -> Any:
    """Returns the query of a scope's documents whose numbers are below the limit."""
    first, end = (collection.document(_document_id(permit.scope, number)) for number in (0, permit.maximum))
    from_first = collection.where(filter=FieldFilter("__name__", ">=", first))
    return from_first.where(filter=FieldFilter("__name__", "<", end))


def expired_permits(collection: Any, permit: Permit, now: datetime) -> Any:
    """Returns the query of a scope's expired documents that TTL has not deleted yet."""
    query = collection.where(filter=FieldFilter("scope", "==", permit.scope))
    return query.where(filter=FieldFilter("expires_at", "<=", now)).order_by("expires_at")


def release_permit(batch: AsyncWriteBatch, firestore: AsyncClient, run: Run) -> None:
    """Deletes the permit of an open run in the commit that ends the run."""
    if run.permit is not None:
        batch.delete(firestore.collection(PERMITS).document(_document_id(_open_runs_scope(run), run.permit)))


def _submit_permit(run: Run, maximum: int | None) -> Permit | None:
    if maximum is None:
        return None
    minute = minute_of(run.created_at)
    return Permit(
        scope=_hashed(f"submits {minute.isoformat()} {run.user_id}"),
        maximum=maximum,
        number=randrange(maximum),
        expires_at=minute + 2 * WINDOW + timedelta(hours=1),
        error=too_many_submits(maximum, run.created_at),
    )


def _open_run_permit(run: Run, maximum: int | None) -> Permit | None:
    if maximum is None:
        return None
    return Permit(
        scope=_open_runs_scope(run),
        maximum=maximum,
        number=randrange(maximum),
        expires_at=run.expires_at,
        error=too_many_open_runs(maximum),
    )


def _open_runs_scope(run: Run) -> str:
    return _hashed(f"open-runs {run.tenant_id}")


def _hashed(scope: str) -> str:
    """Returns 32 hexadecimal digits. Ids of users and tenants may contain characters that a document id must not."""
    return sha256(scope.encode()).hexdigest()[:32]


def _document_id(scope: str, number: int) -> str:
    """Returns an id whose alphabetical order within a scope is the order of the numbers, up to 99,999."""
    return f"{scope}-{number:05}"


def _permit_of(permit: Permit, snapshot: Any) -> Permit:
    """Returns the permit of the same scope whose document (existing and expired, or missing) was read."""
    expired_update_time = snapshot.update_time if snapshot.exists else None
    return replace(permit, number=int(snapshot.id.rpartition("-")[2]), expired_update_time=expired_update_time)
