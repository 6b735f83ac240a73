"""Stores endpoints and deliveries of webhooks in Firestore: `webhooks/{organization}`, `webhook_deliveries/{id}`.

No client may read either collection (infra/firestore.rules), so the secrets of the endpoints stay with the functions.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.api_core.exceptions import Conflict, FailedPrecondition, NotFound
from google.cloud.firestore import AsyncClient, FieldFilter
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.document import plain_times
from shared.adapters.storage.webhook_documents import from_webhook_document, to_webhook_document
from shared.domain.frozen import replace
from shared.domain.webhook import OrganizationWebhooks
from shared.domain.webhook_delivery import Delivery
from shared.errors import StoreUnavailable
from shared.ports import DeliveryPosition

WEBHOOKS = "webhooks"
DELIVERIES = "webhook_deliveries"
MAX_CHANGE_TRIES = 8
PAGE = 400
"""A commit takes 500 writes."""


def put_deliveries_in(batch: AsyncWriteBatch, firestore: AsyncClient, deliveries: Sequence[Delivery]) -> None:
    """Adds the writes of new deliveries to the commit that stores their run."""
    for delivery in deliveries:
        batch.set(firestore.collection(DELIVERIES).document(delivery.id), to_webhook_document(delivery))


class FirestoreWebhookStore:
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def organization(self, organization_id: str) -> OrganizationWebhooks:
        async with google_errors_as(StoreUnavailable):
            snapshot = await self._firestore.collection(WEBHOOKS).document(organization_id).get(**bounded())
        if not snapshot.exists:
            return OrganizationWebhooks(organization_id=organization_id)
        document = plain_times(snapshot.to_dict() or {})
        return from_webhook_document(OrganizationWebhooks, document, revision=snapshot.update_time)

    async def change(
        self, organization_id: str, change: Callable[[OrganizationWebhooks], OrganizationWebhooks]
    ) -> OrganizationWebhooks:
        """Compares and sets. A commit whose answer was lost is followed by a second one that changes nothing."""
        for _ in range(MAX_CHANGE_TRIES):
            current = await self.organization(organization_id)
            changed = change(current)
            if changed == current:
                return current
            batch, reference = self._firestore.batch(), self._firestore.collection(WEBHOOKS).document(organization_id)
            if current.revision is None:
                batch.create(reference, to_webhook_document(changed))
            else:
                option = self._firestore.write_option(last_update_time=current.revision)
                batch.update(reference, to_webhook_document(changed), option=option)
            async with google_errors_as(StoreUnavailable):
                try:
                    await batch.commit(**bounded())
                except (Conflict, FailedPrecondition, NotFound):
                    continue
            return changed
        raise StoreUnavailable

    async def add(self, delivery: Delivery) -> None:
        async with google_errors_as(StoreUnavailable):
            try:
                await self._reference(delivery.id).create(to_webhook_document(delivery), **bounded())
            except Conflict:
                return  # an earlier call stored it

    async def delivery(self, delivery_id: str) -> Delivery | None:
        async with google_errors_as(StoreUnavailable):
            snapshot = await self._reference(delivery_id).get(**bounded())
        return _to_delivery(snapshot) if snapshot.exists else None

    async def save(self, delivery: Delivery) -> Delivery | None:
        """After a commit whose answer was lost it returns None, as after that of another writer: the sweeper goes on
        with what this writer would have scheduled.
        """
        batch = self._firestore.batch()
        option = self._firestore.write_option(last_update_time=delivery.revision)
        batch.update(self._reference(delivery.id), to_webhook_document(delivery), option=option)
        async with google_errors_as(StoreUnavailable):
            try:
                result, *_ = await batch.commit(**bounded())
            except (Conflict, FailedPrecondition, NotFound):
                return None
        return replace(delivery, revision=result.update_time)

    async def chain(self, delivery: Delivery) -> Sequence[Delivery]:
        return await self._found(self._where("chain", delivery.chain).order_by("sequence"))

    async def due(self, shards: Sequence[int], *, before: datetime, limit: int) -> Sequence[Delivery]:
        query = self._firestore.collection(DELIVERIES).where(filter=FieldFilter("shard", "in", list(shards)))
        query = query.where(filter=FieldFilter("due_at", "<=", before))
        return await self._found(query.order_by("due_at").limit(limit))

    async def page(
        self, organization_id: str, endpoint_id: str, *, limit: int, after: DeliveryPosition | None = None
    ) -> Sequence[Delivery]:
        query = self._where("organization_id", organization_id)
        query = query.where(filter=FieldFilter("endpoint_id", "==", endpoint_id))
        query = query.order_by("at", direction="DESCENDING").order_by("__name__", direction="DESCENDING")
        if after is not None:
            query = query.start_after({"at": after.at, "__name__": self._reference(after.delivery_id)})
        return await self._found(query.limit(limit))

    async def of_run(self, run_id: str) -> Sequence[Delivery]:
        return await self._found(self._where("run_id", run_id))

    async def forget_run(self, run_id: str) -> None:
        query = self._where("run_id", run_id).limit(PAGE)
        while snapshots := await self._snapshots(query):
            batch = self._firestore.batch()
            for snapshot in snapshots:
                batch.delete(snapshot.reference)
            async with google_errors_as(StoreUnavailable):
                await batch.commit(**bounded())

    def _where(self, name: str, value: Any) -> Any:
        return self._firestore.collection(DELIVERIES).where(filter=FieldFilter(name, "==", value))

    async def _found(self, query: Any) -> Sequence[Delivery]:
        return [_to_delivery(snapshot) for snapshot in await self._snapshots(query)]

    async def _snapshots(self, query: Any) -> list[Any]:
        async with google_errors_as(StoreUnavailable):
            return [snapshot async for snapshot in query.stream(**bounded())]

    @property
    def _firestore(self) -> AsyncClient:
        return self._clients().firestore

    def _reference(self, delivery_id: str) -> Any:
        return self._firestore.collection(DELIVERIES).document(delivery_id)


def _to_delivery(snapshot: Any) -> Delivery:
    document: Mapping[str, Any] = plain_times(snapshot.to_dict())
    return from_webhook_document(Delivery, document, revision=snapshot.update_time)
