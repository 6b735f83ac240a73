"""Converts endpoints and deliveries to documents of plain values and back, and schedules new deliveries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from shared import log
from shared.domain.webhook import OrganizationWebhooks
from shared.domain.webhook_delivery import Delivery, DeliveryTask, task_of
from shared.errors import SchedulerUnavailable
from shared.ports import WebhookScheduler

Record = TypeVar("Record", OrganizationWebhooks, Delivery)


def to_webhook_document(record: OrganizationWebhooks | Delivery) -> dict[str, Any]:
    """Returns the record as a dict of JSON values and datetimes, without `revision`; a delivery has its `chain`."""
    document: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(datetime,), enc_hook=_drop_revision)
    del document["revision"]
    return {**document, "chain": record.chain} if isinstance(record, Delivery) else document


def from_webhook_document(kind: type[Record], document: Mapping[str, Any], *, revision: Any) -> Record:
    """Returns the record of a document whose times are datetimes or RFC 3339 strings. Raises ValueError."""
    return msgspec.convert({**document, "revision": revision}, kind)


def delivery_task_name(task: DeliveryTask) -> str:
    """Returns `{hash}-{delivery id}-{turn}-{reason}`. The same task always has the same name.

    The hash comes first because names with a common beginning make Cloud Tasks slow:
    https://cloud.google.com/tasks/docs/reference/rest
    """
    name = f"{task.delivery_id}-{task.turn}{f'-{task.reason}' if task.reason else ''}"
    return f"{sha256(name.encode()).hexdigest()[:8]}-{name}"


async def announce(scheduler: WebhookScheduler, deliveries: Sequence[Delivery]) -> None:
    """Schedules deliveries that a commit has stored. The sweeper schedules those for which this fails."""
    for delivery in deliveries:
        try:
            await scheduler.schedule(task_of(delivery), at=delivery.at)
        except SchedulerUnavailable:
            log.info("delivery not scheduled; the sweeper will", delivery_id=delivery.id)


def _drop_revision(value: Any) -> None:
    """Replaces the only value that msgspec does not know, the `revision`; the caller deletes it anyway."""
