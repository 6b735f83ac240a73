"""Defines how webhooks are stored, scheduled, signed and sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from shared.domain.webhook import OrganizationWebhooks
    from shared.domain.webhook_delivery import Answer, Delivery, DeliveryTask


class DeliveryPosition(Struct, frozen=True, kw_only=True):
    """A place in a list that is ordered by a time (at or due_at) and the delivery's id."""

    at: datetime
    delivery_id: str


class WebhookStore(Protocol):
    """Stores endpoints and deliveries. RunStore stores the deliveries of a run's events in the commits of the run."""

    async def organization(self, organization_id: str) -> OrganizationWebhooks:
        """Returns what the organization has; it is empty before the first change."""

    async def change(
        self, organization_id: str, change: Callable[[OrganizationWebhooks], OrganizationWebhooks]
    ) -> OrganizationWebhooks:
        """Replaces the record by what `change` makes of it, in one atomic step, and returns it as stored.

        Calls `change` again with a newer record when another writer was first, so it must be a pure function. Writes
        nothing when the record stays equal. Raises what `change` raises.
        """

    async def add(self, delivery: Delivery) -> None:
        """Stores a delivery that belongs to no run. Storing it again changes nothing."""

    async def delivery(self, delivery_id: str) -> Delivery | None:
        """Returns the delivery; None when there is none."""

    async def save(self, delivery: Delivery) -> Delivery | None:
        """Replaces the delivery if its revision is still `delivery.revision`, and returns it with its new revision.

        Returns None, and changes nothing, when another writer was first or the delivery is gone.
        """

    async def chain(self, delivery: Delivery) -> Sequence[Delivery]:
        """Returns all deliveries of the same run to the same endpoint, in the order of their events."""

    async def due(self, shards: Sequence[int], *, before: datetime, limit: int) -> Sequence[Delivery]:
        """Returns pending deliveries of these shards that are due by then, the longest due first."""

    async def page(
        self, organization_id: str, endpoint_id: str, *, limit: int, after: DeliveryPosition | None = None
    ) -> Sequence[Delivery]:
        """Returns the endpoint's deliveries with the newest events first, from behind the position `after` on."""

    async def of_run(self, run_id: str) -> Sequence[Delivery]:
        """Returns all deliveries of the run, in no particular order."""

    async def forget_run(self, run_id: str) -> None:
        """Deletes all deliveries of the run."""


class WebhookScheduler(Protocol):
    async def schedule(self, task: DeliveryTask, *, at: datetime) -> None:
        """Makes deliver_webhook be called at that time or later, at least once.

        Does nothing when the same task was made in the last 24 hours. Raises SchedulerUnavailable.
        """


class WebhookSigner(Protocol):
    def __call__(self, message_id: str, at: datetime, body: str, *, keys: Sequence[str]) -> Mapping[str, str]:
        """Returns the headers of Standard Webhooks; `keys` are whsec_… and each of them signs."""


class WebhookSender(Protocol):
    async def send(self, url: str, *, headers: Mapping[str, str], body: str) -> Answer:
        """Posts the body to a public address of the URL's host, and returns what came of it within a bounded time."""
