"""Keeps what each tenant with a budget has reserved and spent: one document `budgets/{hash}` for a tenant's month.

    {tenant_id, month: "2026-03", reserved, spent, days: {d14: {reserved, spent}}, expires_at}, in nano-USD

The commit that creates a run reads the document first and fails when the document has changed since, so that no two
runs take the same money. Only runs of tenants with a budget pay for this: their submits are accepted one after the
other. A process lets its own wait for each other, so that they do not fail each other's commits. The commit that ends
a run does not read: it adds to the balance whatever that is, and never fails for another writer.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from google.cloud.firestore import AsyncClient, Increment
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.storage.ending import must_be_settled
from shared.domain.budget import Balance, Budget, cost, month_of, require_room, reservation
from shared.domain.run import Run
from shared.domain.usage_sums import RETENTION
from shared.errors import StoreUnavailable

BUDGETS = "budgets"


class BudgetTurns:
    """Orders the submits of one tenant in one event loop: each takes its turn before it reads the balance."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()
        """The locks that are held or waited for, by (id of the event loop, tenant)."""

    def of(self, run: Run) -> asyncio.Lock:
        return self._locks.setdefault((id(asyncio.get_running_loop()), run.tenant_id), asyncio.Lock())


class BudgetReservation:
    """The reservation of one new run that may cost something, for a tenant with a budget."""

    def __init__(self, firestore: AsyncClient, run: Run, budget: Budget) -> None:
        self._firestore = firestore
        self._run = run
        self._budget = budget
        self._snapshot: Any = None

    async def read(self) -> None:
        """Reads the balance. Raises BudgetExhausted when the run does not fit into what is left."""
        async with google_errors_as(StoreUnavailable):
            self._snapshot = await _reference(self._firestore, self._run).get(**bounded())
        day, month = self._balances()
        require_room(self._budget, self._run, day=day, month=month)

    def reserve_in(self, batch: AsyncWriteBatch) -> None:
        """Adds the write that reserves the money. The commit fails when the balance has changed since it was read."""
        reference, amount = _reference(self._firestore, self._run), reservation(self._run)
        day, month = self._balances()
        if self._snapshot.exists:
            values = {"reserved": month.reserved + amount, f"days.{_day(self._run)}.reserved": day.reserved + amount}
            option = self._firestore.write_option(last_update_time=self._snapshot.update_time)
            batch.update(reference, values, option=option)
        else:
            days = {_day(self._run): {"reserved": amount, "spent": 0}}
            batch.create(reference, {**_head(self._run), "reserved": amount, "spent": 0, "days": days})

    def _balances(self) -> tuple[Balance, Balance]:
        """Returns (the day's, the month's)."""
        document = self._snapshot.to_dict() or {}
        return _balance(document.get("days", {}).get(_day(self._run), {})), _balance(document)


def settle_in(batch: AsyncWriteBatch, firestore: AsyncClient, run: Run) -> None:
    """Adds the write that replaces the reservation of a run that the same commit ends by the run's cost.

    The increments are safe although commits may be repeated: the same batch updates the run only at the revision that
    was read, so a second commit of the batch fails as a whole.
    """
    if not must_be_settled(run):
        return
    changes = {"reserved": Increment(-reservation(run)), "spent": Increment(cost(run))}
    values = {**_head(run), **changes, "days": {_day(run): dict(changes)}}
    batch.set(_reference(firestore, run), values, merge=True)


async def read_balances(firestore: AsyncClient, tenant_id: str, day: date) -> tuple[Balance, Balance]:
    """Returns what the tenant has reserved and spent in (that day, its month)."""
    async with google_errors_as(StoreUnavailable):
        snapshot = await _document(firestore, f"{day:%Y-%m}", tenant_id).get(**bounded())
    document = snapshot.to_dict() or {}
    return _balance(document.get("days", {}).get(f"d{day:%d}", {})), _balance(document)


def _reference(firestore: AsyncClient, run: Run) -> Any:
    return _document(firestore, month_of(run), run.tenant_id)


def _document(firestore: AsyncClient, month: str, tenant_id: str) -> Any:
    """Ids of tenants may contain characters that a document id must not, so the id is a hash."""
    name = sha256(f"{month} {tenant_id}".encode()).hexdigest()[:32]
    return firestore.collection(BUDGETS).document(name)


def _head(run: Run) -> dict[str, Any]:
    return {"tenant_id": run.tenant_id, "month": month_of(run), "expires_at": month_expiry(run)}


def month_expiry(run: Run) -> datetime:
    """Returns when the documents of the run's month are deleted."""
    return datetime.fromisoformat(f"{month_of(run)}-01").replace(tzinfo=UTC) + timedelta(days=31) + RETENTION


def _day(run: Run) -> str:
    """Returns the name of the day's field, which begins with a letter, so that it needs no quotes in field paths."""
    return f"d{run.created_at.day:02}"


def _balance(fields: Any) -> Balance:
    return Balance(reserved=fields.get("reserved", 0), spent=fields.get("spent", 0))
