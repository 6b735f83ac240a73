"""Defines a delivery, which is the message of one event to one endpoint, and its plan of tries.

The commit that adds an event to a run also stores the event's deliveries. A delivery holds ids only: its body is made
from the run at each try, so that the content of an erased run leaves the service no more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.event import DELTA, Event
from shared.domain.frozen import are_equal_besides, replace
from shared.domain.run import Run
from shared.domain.webhook import WebhookTarget

GAP_SECONDS = (5, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
GAPS = tuple(timedelta(seconds=seconds) for seconds in GAP_SECONDS)
"""The pauses before the second try, the third one, and so on."""
RETENTION = timedelta(days=30)
"""How long a delivery is listed after its event; its last try is within four days."""
LEASE = timedelta(seconds=25)
"""How long a worker has a delivery: a try takes 15 s at most, and is saved afterwards."""
HOLD_MARGIN = timedelta(seconds=30)
"""How long after the next try of an earlier delivery the sweeper looks at one that waits for it."""
TEST_EVENT = "webhook.test"


class DeliveryStatus(StrEnum):
    """Tells what has become of a delivery."""

    PENDING = "pending"
    """It is tried, or waits for its next try or for an earlier delivery of its run."""
    DELIVERED = "delivered"
    """The endpoint has answered with 2xx."""
    FAILED = "failed"
    """It is given up; an administrator may send it again."""


class DeliveryError(StrEnum):
    """Why the latest try failed, or why a delivery is given up."""

    STATUS = "http_status"
    """The endpoint answered with another code than 2xx."""
    GONE = "gone"
    """The endpoint answered 410."""
    TIMEOUT = "timeout"
    """The endpoint did not answer in time."""
    CONNECTION = "connection_failed"
    """The connection failed, or what was answered is no HTTP."""
    TLS = "tls_failed"
    """The endpoint's certificate is not valid for its host."""
    NOT_RESOLVED = "name_not_resolved"
    """The host has no address."""
    ADDRESS_REFUSED = "address_refused"
    """The host has an address that is not public."""
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    NO_SECRET = "no_secret"
    """The organization has no secret to sign with."""
    RUN_GONE = "run_gone"
    """The run has expired or was deleted with its user."""


class Answer(Struct, frozen=True, kw_only=True):
    """Holds what came of one try: all that is kept of it. `code` is the HTTP status; without an answer it is None."""

    code: int | None
    duration: timedelta
    error: DeliveryError | None = None
    """None when the endpoint has answered with 2xx."""


class Delivery(Struct, frozen=True, kw_only=True):
    """One event for one endpoint. All times are aware UTC."""

    id: str
    """Also the message's id, by which a receiver recognizes a repeat."""
    organization_id: str
    endpoint_id: str
    run_id: str | None
    """None of a test."""
    sequence: int
    """That of the event within its run."""
    type: str
    """An EventType, or TEST_EVENT."""
    at: datetime
    """When the event happened."""
    shard: int
    expires_at: datetime
    status: DeliveryStatus = DeliveryStatus.PENDING
    due_at: datetime | None
    """When the next try is due; the sweeper repairs what is overdue. None once the delivery has ended."""
    tries: int = 0
    turn: int = 0
    """Rises with each claim, each try and each redelivery; the task of an earlier turn does nothing."""
    is_claimed: bool = False
    """Whether a worker tries the delivery; `due_at` is then the end of its lease."""
    last_code: int | None = None
    last_error: str | None = None
    """A DeliveryError."""
    last_try_at: datetime | None = None
    last_seconds: float | None = None
    revision: Any = None
    """Owned by the store: the stored version that this was read from; opaque."""

    def __eq__(self, other: object) -> bool:
        return are_equal_besides(self, other, revision=None)

    @property
    def chain(self) -> str:
        """Returns the name of the row of deliveries in which each waits for those before it."""
        return f"{self.run_id or self.id}/{self.endpoint_id}"

    @property
    def is_pending(self) -> bool:
        return self.status is DeliveryStatus.PENDING

    @property
    def is_test(self) -> bool:
        return self.run_id is None

    def claimed(self, now: datetime) -> "Delivery":
        """Records the intent to try: until the lease ends no other worker may."""
        return replace(self, turn=self.turn + 1, is_claimed=True, due_at=now + LEASE)

    def answered(self, now: datetime, answer: Answer) -> "Delivery":
        """Records a try: the delivery has ended, or its next try is due after the next gap. A test is tried once."""
        tried = replace(
            self,
            tries=self.tries + 1,
            turn=self.turn + 1,
            is_claimed=False,
            last_code=answer.code,
            last_error=answer.error,
            last_try_at=now,
            last_seconds=round(answer.duration.total_seconds(), 3),
        )
        if answer.error is None:
            return replace(tried, status=DeliveryStatus.DELIVERED, due_at=None)
        if self.is_test or answer.error is DeliveryError.GONE or tried.tries > len(GAPS):
            return replace(tried, status=DeliveryStatus.FAILED, due_at=None)
        return replace(tried, due_at=now + GAPS[tried.tries - 1])

    def given_up(self, error: DeliveryError) -> "Delivery":
        """Ends the delivery without a try."""
        return replace(self, status=DeliveryStatus.FAILED, due_at=None, turn=self.turn + 1, last_error=error)

    def redelivered(self, now: datetime) -> "Delivery":
        """Begins the tries anew, at once."""
        return replace(self, status=DeliveryStatus.PENDING, due_at=now, tries=0, turn=self.turn + 1, is_claimed=False)

    def postponed(self, due_at: datetime) -> "Delivery":
        """Sets when the sweeper looks at the delivery; its turn stays the same."""
        return replace(self, due_at=due_at)


class DeliveryTask(Struct, frozen=True, kw_only=True):
    """The content of a task of deliver_webhook: ids and counts, nothing that a user wrote."""

    delivery_id: str
    turn: int
    reason: str = ""
    """Distinguishes the tasks of one turn; the same (delivery, turn, reason) is the same task."""


def task_of(delivery: Delivery, reason: str = "") -> DeliveryTask:
    return DeliveryTask(delivery_id=delivery.id, turn=delivery.turn, reason=reason)


def new_deliveries(run: Run) -> list[Delivery]:
    """Returns the deliveries of the events for which none is recorded; the commit that saves the run stores them."""
    return [_delivery(run, target, event) for target in run.webhooks for event in _new_events(run, target)]


def with_recorded(run: Run) -> Run:
    """Returns the run as the commit stores it: each target knows its latest event for which a delivery is recorded."""
    if not run.webhooks:
        return run
    return replace(run, webhooks=tuple(_with_recorded(run, target) for target in run.webhooks))


def head_of(chain: Sequence[Delivery]) -> Delivery | None:
    """Returns the first delivery that has not ended; the others of the chain wait for it."""
    return next((delivery for delivery in chain if delivery.is_pending), None)


def _new_events(run: Run, target: WebhookTarget) -> list[Event]:
    new = [event for event in run.events if event.sequence > target.recorded and event.type in target.events]
    return [event for event in new if DELTA not in event.detail]


def _with_recorded(run: Run, target: WebhookTarget) -> WebhookTarget:
    latest = max((event.sequence for event in _new_events(run, target)), default=target.recorded)
    return replace(target, recorded=latest)


def _delivery(run: Run, target: WebhookTarget, event: Event) -> Delivery:
    return Delivery(
        id=f"msg_{run.id}_{target.endpoint_id}_{event.sequence}",
        organization_id=run.tenant_id,
        endpoint_id=target.endpoint_id,
        run_id=run.id,
        sequence=event.sequence,
        type=event.type,
        at=event.at,
        shard=run.shard,
        expires_at=event.at + RETENTION,
        due_at=event.at,
    )
