"""Lets administrators set up the webhooks of their organization, and see and repeat their deliveries."""

from collections.abc import Callable, Sequence
from zlib import crc32

from msgspec import Struct

from shared import log
from shared.domain.directory import Profile
from shared.domain.frozen import replace
from shared.domain.run import SHARDS
from shared.domain.webhook import (
    SUBMIT,
    DisabledReason,
    Endpoint,
    OrganizationWebhooks,
    SigningSecret,
    rotated,
)
from shared.domain.webhook_address import read_address
from shared.domain.webhook_delivery import RETENTION, TEST_EVENT, Delivery, task_of
from shared.domain.webhook_fields import NewEndpoint
from shared.errors import InvalidRequest, SchedulerUnavailable, StoreUnavailable, WebhookNotFound
from shared.ports import Clock, DeliveryPosition, WebhookScheduler, WebhookStore

MAX_REDELIVERY_UPDATES = 5


class DeliveryPage(Struct, frozen=True, kw_only=True):
    deliveries: Sequence[Delivery]
    next_cursor: DeliveryPosition | None
    """The start of the next page; None on the last page."""


class Webhooks(Struct, frozen=True, kw_only=True):
    """Each method raises WebhookNotFound for what the caller's organization does not have."""

    store: WebhookStore
    scheduler: WebhookScheduler
    clock: Clock
    allowed_hosts: frozenset[str]
    """"host:port" of receivers that may be private, on one machine only."""
    new_id: Callable[[], str]
    new_secret: Callable[[], str]

    async def create(self, caller: Profile, wanted: NewEndpoint) -> tuple[Endpoint, str]:
        """Returns the new endpoint and its secret, which nothing shows again. Raises InvalidRequest."""
        read_address(wanted.url, allowed_hosts=self.allowed_hosts)
        secret = self.new_secret()
        endpoint = Endpoint(
            id=self.new_id(),
            url=wanted.url,
            events=wanted.events,
            created_at=self.clock.now(),
            secrets=(SigningSecret(key=secret),),
        )
        await self.store.change(caller.organization_id, lambda current: current.with_new(endpoint))
        log.info("webhook created", webhook_id=endpoint.id)
        return endpoint, secret

    async def all(self, caller: Profile) -> OrganizationWebhooks:
        return await self.store.organization(caller.organization_id)

    async def get(self, caller: Profile, endpoint_id: str) -> Endpoint:
        return (await self.all(caller)).endpoint(endpoint_id)

    async def make_secret(self, caller: Profile) -> str:
        """Returns a new secret for the webhooks of submits; an earlier one signs too for a day."""
        secret, now = self.new_secret(), self.clock.now()
        await self.store.change(
            caller.organization_id,
            lambda current: replace(current, secrets=rotated(current.secrets, secret, now)),
        )
        log.info("webhook secret made")
        return secret

    async def rotate(self, caller: Profile, endpoint_id: str) -> tuple[Endpoint, str]:
        """Returns the endpoint and its new secret; the earlier one signs too for a day."""
        secret, now = self.new_secret(), self.clock.now()
        endpoint = await self._change(
            caller, endpoint_id, lambda found: replace(found, secrets=rotated(found.secrets, secret, now))
        )
        log.info("webhook secret rotated", webhook_id=endpoint.id)
        return endpoint, secret

    async def enable(self, caller: Profile, endpoint_id: str) -> Endpoint:
        """Enables the endpoint for the events from now on; what it has missed can be redelivered."""
        return await self._change(caller, endpoint_id, Endpoint.enabled_again)

    async def disable(self, caller: Profile, endpoint_id: str) -> Endpoint:
        now = self.clock.now()
        return await self._change(caller, endpoint_id, lambda found: found.disabled(now, DisabledReason.BY_ADMIN))

    async def delete(self, caller: Profile, endpoint_id: str) -> None:
        await self.store.change(caller.organization_id, lambda current: current.without(endpoint_id))
        log.info("webhook deleted", webhook_id=endpoint_id)

    async def test(self, caller: Profile, endpoint_id: str) -> Delivery:
        """Returns a delivery without a run, which is tried once, also when the endpoint is disabled."""
        endpoint, now, test_id = await self.get(caller, endpoint_id), self.clock.now(), self.new_id()
        delivery = Delivery(
            id=f"msg_test_{test_id}",
            organization_id=caller.organization_id,
            endpoint_id=endpoint.id,
            run_id=None,
            sequence=1,
            type=TEST_EVENT,
            at=now,
            shard=crc32(test_id.encode()) % SHARDS,
            expires_at=now + RETENTION,
            due_at=now,
        )
        await self.store.add(delivery)
        await self._schedule(delivery)
        return delivery

    async def deliveries(
        self, caller: Profile, endpoint_id: str, *, limit: int, after: DeliveryPosition | None
    ) -> DeliveryPage:
        """Returns one page, newest first. The id SUBMIT stands for the webhooks that submits name for themselves."""
        if endpoint_id != SUBMIT:
            await self.get(caller, endpoint_id)
        found = await self.store.page(caller.organization_id, endpoint_id, limit=limit + 1, after=after)
        shown = found[:limit]
        last = DeliveryPosition(at=shown[-1].at, delivery_id=shown[-1].id) if len(found) > limit else None
        return DeliveryPage(deliveries=shown, next_cursor=last)

    async def redeliver(self, caller: Profile, endpoint_id: str, delivery_id: str) -> Delivery:
        """Begins the tries of a delivery anew, under the same message id, and returns it. Raises InvalidRequest."""
        for _ in range(MAX_REDELIVERY_UPDATES):
            delivery = await self.store.delivery(delivery_id)
            owner = (caller.organization_id, endpoint_id)
            if delivery is None or (delivery.organization_id, delivery.endpoint_id) != owner:
                raise WebhookNotFound
            if endpoint_id != SUBMIT and not (await self.get(caller, endpoint_id)).enabled and not delivery.is_test:
                raise InvalidRequest("The webhook is disabled; enable it first.")
            saved = await self.store.save(delivery.redelivered(self.clock.now()))
            if saved is not None:
                await self._schedule(saved)
                return saved
        raise StoreUnavailable

    async def _change(self, caller: Profile, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        changed = await self.store.change(
            caller.organization_id, lambda current: current.with_changed(change(current.endpoint(endpoint_id)))
        )
        return changed.endpoint(endpoint_id)

    async def _schedule(self, delivery: Delivery) -> None:
        """Makes the delivery start at once. When this fails the sweeper schedules it later."""
        try:
            await self.scheduler.schedule(task_of(delivery), at=self.clock.now())
        except SchedulerUnavailable:
            log.info("delivery not scheduled; the sweeper will", delivery_id=delivery.id)
