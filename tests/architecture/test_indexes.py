"""Every query that the code sends has its composite index: the emulator asks for none, production refuses without."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.permits import PERMITS, Permit, expired_permits
from shared.adapters.gcp.reports import accepted_query, open_query
from shared.adapters.gcp.run_store import RUNS, FirestoreRunStore
from shared.adapters.gcp.usage import USAGE, months_query
from shared.adapters.gcp.webhook_store import FirestoreWebhookStore
from shared.domain.channel import Channel
from shared.domain.limits import too_many_open_runs
from shared.domain.run import SHARDS
from shared.domain.status import USER_RUN_KINDS, Kind, Status
from shared.domain.webhook_delivery import Delivery
from shared.ports import Accepted, DeliveryPosition, RunFilter, RunPage, RunPosition
from tests.contract.runs import NOW, a_run

INDEXES = json.loads((Path(__file__).parents[2] / "infra" / "firestore.indexes.json").read_text())
POSITION = RunPosition(at=datetime.now(UTC), run_id=a_run().id)
A_DELIVERY = Delivery(
    id="msg_1",
    organization_id="acme",
    endpoint_id="hook",
    run_id="run",
    sequence=1,
    type="run.completed",
    at=NOW,
    shard=1,
    expires_at=NOW,
    due_at=NOW,
)


class Recorder(FirestoreRunStore):
    """Keeps the queries that would be sent."""

    def __init__(self) -> None:
        super().__init__(ClientsByLoop(GoogleEndpoints(project="p", firestore_emulator="127.0.0.1:1")))
        self.sent: list[Any] = []

    async def _page(self, query: Any, *, ordered_by: str) -> RunPage:
        self.sent.append(query._to_protobuf())
        return RunPage(runs=[], positions=[])

    async def _count(self, query: Any) -> int:
        self.sent.append(query._to_protobuf())
        return 0


class WebhookRecorder(FirestoreWebhookStore):
    def __init__(self, clients: ClientsByLoop) -> None:
        super().__init__(clients)
        self.sent: list[Any] = []

    async def _snapshots(self, query: Any) -> list[Any]:
        self.sent.append(query._to_protobuf())
        return []


def filters() -> Iterator[RunFilter]:
    for status, job_type, question_id in product((None, Status.PENDING), (None, "review_colab"), (None, "q")):
        yield RunFilter(user_id="u", kinds=(Kind.JOB,), status=status, job_type=job_type, question_id=question_id)
    for status in (None, Status.PENDING):
        yield RunFilter(user_id="u", kinds=USER_RUN_KINDS, status=status)


async def all_queries() -> list[Any]:
    store = Recorder()
    for wanted in filters():
        for after in (None, POSITION):
            await store.list_runs(wanted, limit=10, after=after)
        await store.count_runs(wanted, at_most=10)
    for terminal, before, last in product((False, True), (None, NOW), (None, POSITION)):
        await store.due_runs(range(SHARDS), terminal=terminal, before=before, after=last, limit=10)
    for tenant_id in (None, "acme"):
        await store.changed_runs(Channel(name="c", tenant_id=tenant_id), since=NOW, limit=10)
    permits = store._firestore.collection(PERMITS)
    permit = Permit(scope="s", maximum=9, number=0, expires_at=NOW, error=too_many_open_runs(9))
    usage, runs = store._firestore.collection(USAGE), store._firestore.collection(RUNS)
    others = [expired_permits(permits, permit, NOW), open_query(runs, "acme")]
    for user_id in (None, "u"):
        others.append(months_query(usage, "acme", first=NOW.date(), last=NOW.date(), user_id=user_id))
        for status in (None, Status.FAILED):
            period = Accepted(tenant_id="acme", user_id=user_id, status=status, since=NOW, until=NOW)
            others.append(accepted_query(runs, period))
    webhooks = WebhookRecorder(store._clients)
    for last_delivery in (None, DeliveryPosition(at=NOW, delivery_id="msg_1")):
        await webhooks.page("acme", "hook", limit=10, after=last_delivery)
    await webhooks.due(range(SHARDS), before=NOW, limit=10)
    await webhooks.chain(A_DELIVERY)
    return [*store.sent, *webhooks.sent, *[query._to_protobuf() for query in others]]


def shape(query: Any) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
    """(fields that are compared for equality, (field, direction) of the order), without the document's name."""
    whole = query.where
    parts = list(whole.composite_filter.filters) if whole.composite_filter.filters else [whole]
    equal = {part.field_filter.field.field_path for part in parts if part.field_filter.op.name in ("EQUAL", "IN")}
    order = [(item.field.field_path, item.direction.name) for item in query.order_by]
    return frozenset(equal), tuple(item for item in order if item[0] != "__name__")


def fits(query: Any, index: dict[str, Any]) -> bool:
    """https://firebase.google.com/docs/firestore/query-data/index-overview: equalities first, then the order."""
    equal, order = shape(query)
    fields = [(field["fieldPath"], field["order"]) for field in index["fields"]]
    head, tail = fields[: len(equal)], fields[len(equal) :]
    return {name for name, _ in head} == equal and (tuple(tail) == order or (not order and len(tail) <= 1))


async def test_every_query_has_an_index() -> None:
    queries = await all_queries()
    assert len(queries) == 52
    for query in queries:
        [collection] = [source.collection_id for source in query.from_]
        indexes = [index for index in INDEXES["indexes"] if index["collectionGroup"] == collection]
        assert any(fits(query, index) for index in indexes), shape(query)


async def test_a_query_of_a_new_shape_would_be_noticed() -> None:
    store = Recorder()
    await store._page(store._firestore.collection("llm_runs").order_by("priority"), ordered_by="priority")
    assert not any(fits(query, index) for query in store.sent for index in INDEXES["indexes"])


@pytest.mark.parametrize("field", ["created_at", "updated_at", "due_at", "events", "input", "plan", "result"])
def test_no_single_field_index_limits_or_taxes_the_writes(field: str) -> None:
    """Ever-growing indexed values cap a collection at 500 writes a second."""
    overrides = {item["fieldPath"]: item["indexes"] for item in INDEXES["fieldOverrides"]}
    assert overrides[field] == []


def test_runs_and_keys_go_by_themselves_when_their_time_is_over() -> None:
    expiring = {item["collectionGroup"] for item in INDEXES["fieldOverrides"] if item.get("ttl")}
    assert expiring == {
        "llm_runs", "idempotency_keys", "ended_sessions", "parts", "permits", "durations", "usage", "budgets",
        "webhook_deliveries",
    }  # fmt: skip
