"""Schedules deliveries of webhooks as named Cloud Tasks, which send a POST request to deliver_webhook."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud.tasks_v2 import HttpMethod, HttpRequest, OidcToken, Task

from shared import tracing
from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.task_targets import WebhookTarget
from shared.adapters.storage.webhook_documents import delivery_task_name
from shared.domain.webhook_delivery import DeliveryTask
from shared.errors import SchedulerUnavailable

DISPATCH_DEADLINE = timedelta(minutes=1)


class CloudTasksWebhookScheduler:
    def __init__(self, clients: ClientsByLoop, target: WebhookTarget) -> None:
        self._clients = clients
        self._target = target

    async def schedule(self, task: DeliveryTask, *, at: datetime) -> None:
        async with google_errors_as(SchedulerUnavailable):
            try:
                await self._clients().tasks.create_task(
                    parent=self._target.queue, task=self._task(task, at), **bounded()
                )
            except AlreadyExists:
                return  # an earlier call created this task; Cloud Tasks delivers it or has delivered it

    def _task(self, task: DeliveryTask, at: datetime) -> Task:
        target = self._target
        account = target.service_account
        request = HttpRequest(
            url=target.url,
            http_method=HttpMethod.POST,
            headers={"Content-Type": "application/json", **tracing.headers()},
            body=json.dumps(asdict(task)).encode(),
            oidc_token=OidcToken(service_account_email=account, audience=target.audience) if account else None,
        )
        name = f"{target.queue}/tasks/{delivery_task_name(task)}"
        return Task(name=name, http_request=request, schedule_time=at, dispatch_deadline=DISPATCH_DEADLINE)
