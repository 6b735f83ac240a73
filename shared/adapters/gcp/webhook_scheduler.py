"""Schedules deliveries of webhooks as named Cloud Tasks, which send a POST request to deliver_webhook."""

from datetime import datetime, timedelta

from msgspec.structs import asdict

from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.named_tasks import NamedTasks
from shared.adapters.gcp.task_targets import WebhookTarget
from shared.adapters.storage.webhook_documents import delivery_task_name
from shared.domain.webhook_delivery import DeliveryTask

DISPATCH_DEADLINE = timedelta(minutes=1)


class CloudTasksWebhookScheduler:
    def __init__(self, clients: ClientsByLoop, target: WebhookTarget) -> None:
        self._queue = target.queue
        self._tasks = NamedTasks(clients, target, dispatch_deadline=DISPATCH_DEADLINE)

    async def schedule(self, task: DeliveryTask, *, at: datetime) -> None:
        await self._tasks.create(self._queue, delivery_task_name(task), asdict(task), at=at)
