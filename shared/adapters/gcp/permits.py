"""Limits as permits: documents that can be made once each, in the same commit as the run that they let in.

A limit of n has the permits 0 to n-1. Which one a run takes is drawn by lot, so that no document is written by many at
once; a counter would be. A permit for one of the open runs is deleted by the commit that ends its run; one of a minute
goes by itself when the minute is long over. What expired and is still there counts as free.

After a limit was lowered, or set for the first time, runs that hold higher numbers or none are not counted: it holds
for those accepted from then on, and the surplus drains.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from random import choice, randrange, sample
from typing import Any

from google.cloud.firestore import AsyncClient, FieldFilter
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, calling
from shared.domain.limits import WINDOW, Limits, minute_of, too_many_open_runs, too_many_submits
from shared.domain.run import Run
from shared.errors import StoreUnavailable, TooManyRuns

PERMITS = "permits"
LOOKED_AT = (8, 32, 128)
"""How many permits are looked at together, first and then, before all of them are listed."""
MAX_LAPSED = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """One of `maximum` permits of a scope: a user's minute, or a tenant's open runs."""

    scope: str
    maximum: int
    number: int
    expires_at: datetime
    refusal: TooManyRuns
    """What is raised when all of them are taken."""
    lapsed_at: Any = None
    """When the one was written that has this number and has expired; None when there is none."""

    @property
    def name(self) -> str:
        return _name(self.scope, self.number)


class Permits:
    """Those that one run needs; both may be none."""

    def __init__(self, firestore: AsyncClient, run: Run, limits: Limits) -> None:
        self._firestore = firestore
        self._run = run
        self._of_minute = _of_minute(run, limits.submits_a_minute)
        self._of_open_run = _of_open_run(run, limits.open_runs)

    @property
    def number(self) -> int | None:
        """What the run must remember to give back."""
        return self._of_open_run.number if self._of_open_run else None

    def add_to(self, batch: AsyncWriteBatch) -> None:
        for permit in filter(None, (self._of_minute, self._of_open_run)):
            reference = self._permits.document(permit.name)
            values = {"scope": permit.scope, "run_id": self._run.id, "expires_at": permit.expires_at}
            if permit.lapsed_at is None:
                batch.create(reference, values)
            else:
                batch.update(reference, values, option=self._firestore.write_option(last_update_time=permit.lapsed_at))

    async def draw_again(self) -> None:
        """After a commit that failed, perhaps for one of them; one that is free stays. Raises TooManyRuns when there is
        none left.
        """
        if self._of_minute is not None:
            self._of_minute = await self._free_one(self._of_minute)
        if self._of_open_run is not None:
            self._of_open_run = await self._free_one(self._of_open_run)

    async def _free_one(self, permit: Permit) -> Permit:
        """Free a moment ago. Where few are, more and more are looked at, and only then all."""
        wanted, looked_at = {permit.number}, set[int]()
        for count in LOOKED_AT:
            others = [number for number in range(permit.maximum) if number not in looked_at]
            wanted.update(sample(others, min(count, len(others))))
            free = await self._free_of(permit, wanted)
            if not free and not looked_at:
                free = await self._lapsed_when_full(permit)
            if free:
                return next((one for one in free if one.number == permit.number), choice(free))
            looked_at |= wanted
            wanted = set()
            if len(looked_at) == permit.maximum:
                raise permit.refusal
        return await self._free_of_all(permit)

    async def _free_of(self, permit: Permit, numbers: Iterable[int]) -> list[Permit]:
        documents = [self._permits.document(_name(permit.scope, number)) for number in numbers]
        async with calling(StoreUnavailable):
            found = [document async for document in self._firestore.get_all(documents, **bounded())]
        return [_drawn(permit, one) for one in found if not one.exists or one.get("expires_at") <= self._now]

    async def _lapsed_when_full(self, permit: Permit) -> list[Permit]:
        """None of them when there is room; raises the refusal when there is neither."""
        async with calling(StoreUnavailable):
            [[total]] = await all_of(self._permits, permit).count().get(**bounded())
            if total.value < permit.maximum:
                return []
            query = lapsed(self._permits, permit, self._now).limit(MAX_LAPSED)
            found = [_drawn(permit, document) async for document in query.stream(**bounded())]
        free = [one for one in found if one.number < permit.maximum]
        if not free:
            raise permit.refusal
        return free

    async def _free_of_all(self, permit: Permit) -> Permit:
        async with calling(StoreUnavailable):
            query = all_of(self._permits, permit).select([])
            taken = {document.id async for document in query.stream(**bounded())}
        free = [number for number in range(permit.maximum) if _name(permit.scope, number) not in taken]
        if not free:
            raise permit.refusal
        return replace(permit, number=choice(free), lapsed_at=None)

    @property
    def _now(self) -> datetime:
        return self._run.created_at

    @property
    def _permits(self) -> Any:
        return self._firestore.collection(PERMITS)


def all_of(permits: Any, permit: Permit) -> Any:
    """The query of those that are there, of the numbers below the limit only."""
    first, behind = (permits.document(_name(permit.scope, number)) for number in (0, permit.maximum))
    return permits.where(filter=FieldFilter("__name__", ">=", first)).where(filter=FieldFilter("__name__", "<", behind))


def lapsed(permits: Any, permit: Permit, now: datetime) -> Any:
    """The query of those that TTL has not come to yet."""
    query = permits.where(filter=FieldFilter("scope", "==", permit.scope))
    return query.where(filter=FieldFilter("expires_at", "<=", now)).order_by("expires_at")


def give_back(batch: AsyncWriteBatch, firestore: AsyncClient, run: Run) -> None:
    """The place of a run that has ended, in the commit that says so."""
    if run.permit is not None:
        batch.delete(firestore.collection(PERMITS).document(_name(_open_runs(run), run.permit)))


def _of_minute(run: Run, maximum: int | None) -> Permit | None:
    if maximum is None:
        return None
    minute = minute_of(run.created_at)
    return Permit(
        scope=_hashed(f"submits {minute.isoformat()} {run.user_id}"),
        maximum=maximum,
        number=randrange(maximum),
        expires_at=minute + 2 * WINDOW + timedelta(hours=1),
        refusal=too_many_submits(maximum, run.created_at),
    )


def _of_open_run(run: Run, maximum: int | None) -> Permit | None:
    if maximum is None:
        return None
    return Permit(
        scope=_open_runs(run),
        maximum=maximum,
        number=randrange(maximum),
        expires_at=run.expires_at,
        refusal=too_many_open_runs(maximum),
    )


def _open_runs(run: Run) -> str:
    return _hashed(f"open-runs {run.tenant_id}")


def _hashed(scope: str) -> str:
    """Ids of users and tenants may hold what a document's name may not."""
    return sha256(scope.encode()).hexdigest()[:32]


def _name(scope: str, number: int) -> str:
    """Of a scope, in the order of their numbers."""
    return f"{scope}-{number:05}"


def _drawn(permit: Permit, document: Any) -> Permit:
    lapsed_at = document.update_time if document.exists else None
    return replace(permit, number=int(document.id.rpartition("-")[2]), lapsed_at=lapsed_at)
