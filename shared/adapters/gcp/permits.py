"""Limits as permits: documents that can be made once each, in the same commit as the run that they let in.

A limit of n has the permits 0 to n-1. Which one a run takes is drawn by lot, so that no document is written by many at
once; a counter would be. A permit for one of the open runs is deleted by the commit that ends its run; one of a minute
goes by itself when the minute is long over.
"""

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
LOOKED_AT = 8
"""How many permits are looked at together before all of them are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """One of `most` permits of a scope: a user's minute, or a tenant's open runs."""

    scope: str
    most: int
    number: int
    expires_at: datetime
    refusal: TooManyRuns
    """What is raised when all of them are taken."""

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
            values = {"scope": permit.scope, "run_id": self._run.id, "expires_at": permit.expires_at}
            batch.create(self._permits.document(permit.name), values)

    async def draw_again(self) -> None:
        """After a commit that failed, perhaps for one of them. Raises TooManyRuns when there is none left."""
        if self._of_minute is not None:
            self._of_minute = await self._free_one(self._of_minute)
        if self._of_open_run is not None:
            self._of_open_run = await self._free_one(self._of_open_run)

    async def _free_one(self, permit: Permit) -> Permit:
        """Free a moment ago: a few are looked at, and only if all those are taken, all."""
        numbers = {permit.number, *sample(range(permit.most), min(LOOKED_AT, permit.most))}
        documents = [self._permits.document(_name(permit.scope, number)) for number in numbers]
        async with calling(StoreUnavailable):
            found = [document async for document in self._firestore.get_all(documents, **bounded())]
        free = [document.id for document in found if not document.exists]
        if not free:
            free = await self._all_free(permit)
        return replace(permit, number=int(choice(free).rpartition("-")[2]))

    async def _all_free(self, permit: Permit) -> list[str]:
        scope = self._permits.where(filter=FieldFilter("scope", "==", permit.scope))
        async with calling(StoreUnavailable):
            [[total]] = await scope.count().get(**bounded())
            if total.value >= permit.most:
                raise permit.refusal
            taken = {document.id async for document in scope.select([]).stream(**bounded())}
        free = [name for number in range(permit.most) if (name := _name(permit.scope, number)) not in taken]
        if not free:
            raise permit.refusal
        return free

    @property
    def _permits(self) -> Any:
        return self._firestore.collection(PERMITS)


def give_back(batch: AsyncWriteBatch, firestore: AsyncClient, run: Run) -> None:
    """The place of a run that has ended, in the commit that says so."""
    if run.permit is not None:
        batch.delete(firestore.collection(PERMITS).document(_name(_open_runs(run), run.permit)))


def _of_minute(run: Run, most: int | None) -> Permit | None:
    if most is None:
        return None
    minute = minute_of(run.created_at)
    return Permit(
        scope=_hashed(f"submits {minute.isoformat()} {run.user_id}"),
        most=most,
        number=randrange(most),
        expires_at=minute + 2 * WINDOW + timedelta(hours=1),
        refusal=too_many_submits(most, run.created_at),
    )


def _of_open_run(run: Run, most: int | None) -> Permit | None:
    if most is None:
        return None
    return Permit(
        scope=_open_runs(run),
        most=most,
        number=randrange(most),
        expires_at=run.expires_at,
        refusal=too_many_open_runs(most),
    )


def _open_runs(run: Run) -> str:
    return _hashed(f"open-runs {run.tenant_id}")


def _hashed(scope: str) -> str:
    """Ids of users and tenants may hold what a document's name may not."""
    return sha256(scope.encode()).hexdigest()[:32]


def _name(scope: str, number: int) -> str:
    return f"{scope}-{number}"
