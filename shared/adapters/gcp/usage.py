"""Keeps the sums of usage in documents `usage/{hash}-{shard}`, one set for each user's month.

    {tenant_id, month: "2026-03", user_id, expires_at,
     days: {d14: {m1f3…: {model, deployment, runs, failed, input_tokens, output_tokens, cost,
                          failures: {llm_refused: 2}, seconds: {b17: 40}}}}}

The commit that ends a run adds to one of these documents, so counting costs one write. No document is hot: it takes
the runs of one user only, and each user's runs are spread over SHARDS documents. It stays small, since its entries are
the days of a month times the models and deployments that its user has, and an entry has a few dozen counts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from hashlib import sha256
from typing import Any
from uuid import uuid4

from google.api_core.exceptions import FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, FieldFilter, Increment
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.budgets import month_expiry
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.storage.ending import must_be_counted
from shared.domain.budget import month_of
from shared.domain.run import Run
from shared.domain.tally import Tally, tally_of
from shared.domain.usage_sums import SUM_NAMES, UsageKey, UsageSum, usage_key, usage_of
from shared.errors import StoreUnavailable

USAGE = "usage"
SHARDS = 4
"""A document takes about one write a second in the long run; a user is allowed 60 submits a minute by default."""
PAGE = 500


def count_in(batch: AsyncWriteBatch, firestore: AsyncClient, run: Run) -> None:
    """Adds the write that counts a run that the same commit ends.

    The increments are safe for the reason that budgets.settle_in gives.
    """
    if not must_be_counted(run):
        return
    key, added = usage_key(run), usage_of(run)
    sums = {name: Increment(getattr(added, name)) for name in SUM_NAMES}
    entry = {"model": key.model, "deployment": key.deployment, **sums, **_counts(tally_of(run))}
    values = {
        "tenant_id": run.tenant_id,
        "month": month_of(run),
        "user_id": run.user_id,
        "expires_at": month_expiry(run),
        "days": {f"d{key.day[-2:]}": {_entry_name(key): entry}},
    }
    batch.set(firestore.collection(USAGE).document(_document_id(run)), values, merge=True)


class FirestoreUsageSums:
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def sums(self, tenant_id: str, *, first: date, last: date) -> Sequence[tuple[UsageKey, UsageSum]]:
        query = months_query(self._firestore.collection(USAGE), tenant_id, first=first, last=last)
        return [(key, _sum(entry)) for key, entry in await self._entries_of(query, first=first, last=last)]

    async def tallies(
        self, tenant_id: str, *, first: date, last: date, user_id: str | None = None
    ) -> Sequence[tuple[UsageKey, Tally]]:
        query = months_query(self._firestore.collection(USAGE), tenant_id, first=first, last=last, user_id=user_id)
        return [(key, _tally(entry)) for key, entry in await self._entries_of(query, first=first, last=last)]

    async def of_user(self, user_id: str) -> Sequence[tuple[UsageKey, UsageSum]]:
        query = self._firestore.collection(USAGE).where(filter=FieldFilter("user_id", "==", user_id))
        found = await self._entries_of(query.order_by("__name__"), first=date.min, last=date.max)
        return [(key, _sum(entry)) for key, entry in found]

    async def _entries_of(self, query: Any, *, first: date, last: date) -> list[tuple[UsageKey, dict[str, Any]]]:
        """Returns the entries of the documents, as far as they belong to the days from `first` to `last`."""
        found: list[tuple[UsageKey, dict[str, Any]]] = []
        page = await self._page(query.limit(PAGE))
        while page:
            entries = (entry for snapshot in page for entry in _entries(snapshot.to_dict() or {}))
            found += [(key, one) for key, one in entries if first.isoformat() <= key.day <= last.isoformat()]
            page = await self._page(query.start_after(page[-1]).limit(PAGE)) if len(page) == PAGE else []
        return found

    async def forget_user(self, user_id: str) -> None:
        """Moves the sums to documents whose names do not depend on the user, since a hash would identify them."""
        query = self._firestore.collection(USAGE).where(filter=FieldFilter("user_id", "==", user_id)).limit(PAGE)
        while page := await self._page(query):
            for snapshot in page:
                await self._anonymise(snapshot)

    async def _anonymise(self, snapshot: Any) -> None:
        batch = self._firestore.batch()
        batch.create(self._firestore.collection(USAGE).document(uuid4().hex), {**snapshot.to_dict(), "user_id": None})
        option = self._firestore.write_option(last_update_time=snapshot.update_time)
        batch.delete(snapshot.reference, option=option)
        async with google_errors_as(StoreUnavailable):
            try:
                await batch.commit(**bounded())
            except (FailedPrecondition, NotFound):
                return  # changed or moved meanwhile; the next page shows it if it is still there

    async def _page(self, query: Any) -> list[Any]:
        async with google_errors_as(StoreUnavailable):
            return [snapshot async for snapshot in query.stream(**bounded())]

    @property
    def _firestore(self) -> AsyncClient:
        return self._clients().firestore


def months_query(collection: Any, tenant_id: str, *, first: date, last: date, user_id: str | None = None) -> Any:
    """Returns the query of the documents of the tenant, or of one of its users, from one day's month to the other's."""
    query = collection.where(filter=FieldFilter("tenant_id", "==", tenant_id))
    if user_id is not None:
        query = query.where(filter=FieldFilter("user_id", "==", user_id))
    query = query.where(filter=FieldFilter("month", ">=", f"{first:%Y-%m}"))
    query = query.where(filter=FieldFilter("month", "<=", f"{last:%Y-%m}"))
    return query.order_by("month").order_by("__name__")


def _entries(document: dict[str, Any]) -> Iterator[tuple[UsageKey, dict[str, Any]]]:
    for day, entries in document.get("days", {}).items():
        for entry in entries.values():
            key = UsageKey(
                day=f"{document['month']}-{day[1:]}",
                user=document["user_id"],
                model=entry["model"],
                deployment=entry["deployment"],
            )
            yield key, entry


def _sum(entry: Mapping[str, Any]) -> UsageSum:
    return UsageSum(**{name: entry.get(name, 0) for name in SUM_NAMES})


def _counts(tally: Tally) -> dict[str, Any]:
    """Returns what one run adds to the counts of its entry. Names of fields begin with a letter."""
    failures = {code: Increment(runs) for code, runs in tally.failures.items()}
    seconds = {f"b{bucket}": Increment(runs) for bucket, runs in tally.seconds.items()}
    return {name: counts for name, counts in (("failures", failures), ("seconds", seconds)) if counts}


def _tally(entry: Mapping[str, Any]) -> Tally:
    return Tally(
        runs=entry.get("runs", 0),
        failed=entry.get("failed", 0),
        cost=entry.get("cost", 0),
        failures=entry.get("failures", {}),
        seconds={int(bucket[1:]): runs for bucket, runs in entry.get("seconds", {}).items()},
    )


def _document_id(run: Run) -> str:
    names = json.dumps([month_of(run), run.tenant_id, run.user_id])
    return f"{sha256(names.encode()).hexdigest()[:32]}-{run.shard % SHARDS}"


def _entry_name(key: UsageKey) -> str:
    """Returns the name of the field, which begins with a letter and needs no quotes in field paths."""
    return f"m{sha256(json.dumps([key.model, key.deployment]).encode()).hexdigest()[:16]}"
