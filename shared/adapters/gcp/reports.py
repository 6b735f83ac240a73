"""Reads the runs of a tenant or user by the time of their acceptance, and how full the tenant's limits are."""

from datetime import date
from typing import Any

from google.cloud.firestore import AsyncClient, FieldFilter

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.budgets import read_balances
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.document import from_firestore
from shared.adapters.gcp.run_store import RUNS
from shared.adapters.storage.readable import readable_runs
from shared.domain.budget import Balance
from shared.domain.run import Run
from shared.domain.status import TERMINAL, Kind, Status
from shared.errors import StoreUnavailable
from shared.ports import Accepted, RunPage, RunPosition

NOT_READ = {"input", "result", "events", "revision", "clock_offset"}
READ = [name for name in Run.__struct_encode_fields__ if name not in NOT_READ]


class FirestoreRunReports:
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def accepted(self, wanted: Accepted, *, after: RunPosition | None = None, limit: int) -> RunPage:
        query = accepted_query(self._firestore.collection(RUNS), wanted)
        if after is not None:
            reference = self._firestore.collection(RUNS).document(after.run_id)
            query = query.start_after({"created_at": after.at, "__name__": reference})
        async with google_errors_as(StoreUnavailable):
            snapshots = [snapshot async for snapshot in query.select(READ).limit(limit).stream(**bounded())]
        runs = list(readable_runs(snapshots, _to_run))
        positions = [RunPosition(at=snapshot.get("created_at"), run_id=snapshot.id) for snapshot in snapshots]
        return RunPage(runs=runs, positions=positions)

    async def count_open(self, tenant_id: str) -> int:
        async with google_errors_as(StoreUnavailable):
            [[total]] = await open_query(self._firestore.collection(RUNS), tenant_id).count().get(**bounded())
        return int(total.value)

    async def balances(self, tenant_id: str, day: date) -> tuple[Balance, Balance]:
        return await read_balances(self._firestore, tenant_id, day)

    @property
    def _firestore(self) -> AsyncClient:
        return self._clients().firestore


def accepted_query(collection: Any, wanted: Accepted) -> Any:
    """Returns the query of the runs in the order of the port. All kinds are named where an index begins with a kind."""
    owner, owner_id = ("tenant_id", wanted.tenant_id) if wanted.user_id is None else ("user_id", wanted.user_id)
    query = collection.where(filter=FieldFilter(owner, "==", owner_id))
    if wanted.status is not None:
        query = query.where(filter=FieldFilter("status", "==", wanted.status.value))
        if wanted.user_id is not None:
            query = query.where(filter=FieldFilter("kind", "in", [kind.value for kind in Kind]))
    query = query.where(filter=FieldFilter("created_at", ">=", wanted.since))
    query = query.where(filter=FieldFilter("created_at", "<", wanted.until))
    return query.order_by("created_at", direction="DESCENDING").order_by("__name__", direction="DESCENDING")


def open_query(collection: Any, tenant_id: str) -> Any:
    """Returns the query of the tenant's open runs."""
    statuses = [status.value for status in Status if status not in TERMINAL]
    query = collection.where(filter=FieldFilter("tenant_id", "==", tenant_id))
    return query.where(filter=FieldFilter("status", "in", statuses))


def _to_run(snapshot: Any) -> Run:
    document = {**snapshot.to_dict(), "input": {}, "result": None, "events": []}
    return from_firestore(document, revision=snapshot.update_time)
