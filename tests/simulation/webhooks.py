"""Webhooks in the simulation: their store, their tasks, and receivers that may refuse, hang or be gone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import asdict

from shared.adapters.storage.webhook_documents import announce, delivery_task_name
from shared.domain.frozen import replace
from shared.domain.webhook import Endpoint, OrganizationWebhooks, SigningSecret
from shared.domain.webhook_delivery import Answer, Delivery, DeliveryError, DeliveryTask
from shared.errors import SchedulerUnavailable, StoreUnavailable
from shared.ports import DeliveryPosition
from tests.simulation.calls import Calls
from tests.simulation.faults import ReceiverFault
from tests.simulation.history import Post
from tests.simulation.instance import EPOCH
from tests.simulation.timers import TaskQueue

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
TENANT = "acme"
OWN_URL = "https://receivers.example.com/own"
KEY = "whsec_c2ltdWxhdGVkIHNlY3JldCBvZiBhY21l"
SECRETS = (SigningSecret(key=KEY),)
POST_SECONDS = 0.2
TRY_SECONDS = 15.0


@dataclass(slots=True)
class WebhookTables:
    """What is stored: it is written in the same commits as the runs."""

    organizations: dict[str, OrganizationWebhooks] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.deliveries.setdefault(delivery.id, replace(delivery, revision=1))

    def save(self, delivery: Delivery) -> Delivery | None:
        stored = self.deliveries.get(delivery.id)
        if stored is None or stored.revision != delivery.revision:
            return None
        self.deliveries[delivery.id] = replace(delivery, revision=delivery.revision + 1)
        return self.deliveries[delivery.id]

    @property
    def has_pending(self) -> bool:
        return any(delivery.is_pending for delivery in self.deliveries.values())


def of_plan(endpoints: Sequence[tuple[str, ...]]) -> WebhookTables:
    """Returns the records of acme with an endpoint for each list of events."""
    made = [
        Endpoint(
            id=f"hook{number}",
            url=f"https://receivers.example.com/{number}",
            events=events,
            created_at=EPOCH,
            secrets=SECRETS,
        )
        for number, events in enumerate(endpoints)
    ]
    acme = OrganizationWebhooks(organization_id=TENANT, endpoints=tuple(made), secrets=SECRETS)
    return WebhookTables(organizations={TENANT: acme} if made else {})


class SimulatedWebhookStore:
    """The store as one instance reaches it. A plan without webhooks makes no calls, so that it stays as it is."""

    def __init__(self, world: "World", calls: Calls) -> None:
        self._tables = world.webhooks
        self._calls = calls
        self._is_used = bool(world.webhooks.organizations)

    async def organization(self, organization_id: str) -> OrganizationWebhooks:
        none = OrganizationWebhooks(organization_id=organization_id)
        if not self._is_used:
            return none
        return await self._call("organization", lambda: self._tables.organizations.get(organization_id, none))

    async def change(
        self, organization_id: str, change: Callable[[OrganizationWebhooks], OrganizationWebhooks]
    ) -> OrganizationWebhooks:
        def update() -> OrganizationWebhooks:
            changed = change(self._tables.organizations[organization_id])
            self._tables.organizations[organization_id] = changed
            return changed

        return await self._call("change", update)

    async def add(self, delivery: Delivery) -> None:
        raise AssertionError("nobody sends a test in a simulation")

    async def delivery(self, delivery_id: str) -> Delivery | None:
        return await self._call("delivery", lambda: self._tables.deliveries.get(delivery_id))

    async def save(self, delivery: Delivery) -> Delivery | None:
        return await self._call("save", lambda: self._tables.save(delivery))

    async def chain(self, delivery: Delivery) -> Sequence[Delivery]:
        def read() -> Sequence[Delivery]:
            found = [one for one in self._tables.deliveries.values() if one.chain == delivery.chain]
            return sorted(found, key=lambda one: one.sequence)

        return await self._call("chain", read)

    async def due(self, shards: Sequence[int], *, before: datetime, limit: int) -> Sequence[Delivery]:
        def read() -> Sequence[Delivery]:
            found = [one for one in self._tables.deliveries.values() if one.shard in shards and one.due_at is not None]
            due = [(one.due_at, one.id, one) for one in found if one.due_at is not None and one.due_at <= before]
            return [one for _, _, one in sorted(due, key=lambda entry: entry[:2])][:limit]

        return await self._call("due", read) if self._is_used else []

    async def page(
        self, organization_id: str, endpoint_id: str, *, limit: int, after: DeliveryPosition | None = None
    ) -> Sequence[Delivery]:
        raise AssertionError("nobody lists deliveries in a simulation")

    async def of_run(self, run_id: str) -> Sequence[Delivery]:
        raise AssertionError("no operator exports a user in a simulation")

    async def forget_run(self, run_id: str) -> None:
        raise AssertionError("no operator deletes a user in a simulation")

    async def _call(self, name: str, effect: Callable[[], T]) -> T:
        return await self._calls.call(f"store.webhook_{name}", effect, error=StoreUnavailable)


class SimulatedWebhookScheduler:
    def __init__(self, queue: TaskQueue, calls: Calls) -> None:
        self._queue = queue
        self._calls = calls

    async def schedule(self, task: DeliveryTask, *, at: datetime) -> None:
        await self._calls.call(
            "timers.schedule_webhook",
            lambda: self._queue.create_task(delivery_task_name(task), asdict(task), at, about=None),
            error=SchedulerUnavailable,
        )

    async def announce(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await announce(self, deliveries)


class SimulatedReceivers:
    """All receivers, and the sender of one instance."""

    def __init__(self, world: "World", calls: Calls) -> None:
        self._world = world
        self._calls = calls
        self._faults = [fault for fault in world.plan.faults if isinstance(fault, ReceiverFault)]

    async def send(self, url: str, *, headers: Mapping[str, str], body: str) -> Answer:
        try:
            code = await self._calls.call(
                "receivers.post", lambda: self._receive(url, headers, body), error=StoreUnavailable
            )
        except StoreUnavailable:
            return _answer(DeliveryError.CONNECTION)
        if code is None:
            return _answer(DeliveryError.TIMEOUT)
        error = None if code < 300 else DeliveryError.GONE if code == 410 else DeliveryError.STATUS
        return Answer(code=code, duration=timedelta(seconds=POST_SECONDS), error=error)

    def _receive(self, url: str, headers: Mapping[str, str], body: str) -> int | None:
        now = self._world.now
        bad = next((fault for fault in self._faults if fault.start <= now < fault.start + fault.seconds), None)
        code = 204 if bad is None else bad.code
        self._world.history.posts.append(Post(at=now, url=url, headers=dict(headers), body=body, code=code))
        return code


def _answer(error: DeliveryError) -> Answer:
    return Answer(code=None, duration=timedelta(seconds=TRY_SECONDS), error=error)
