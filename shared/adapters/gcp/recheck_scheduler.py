"""Schedules re-checks as named Cloud Tasks, which send a POST request to recheck_run."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud.tasks_v2 import HttpMethod, HttpRequest, OidcToken, Task

from shared import tracing
from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.task_targets import TaskTarget
from shared.adapters.storage.task_name import task_name
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from shared.errors import SchedulerUnavailable

DISPATCH_DEADLINE = timedelta(minutes=10)


class CloudTasksRecheckScheduler:
    def __init__(self, clients: ClientsByLoop, target: TaskTarget) -> None:
        self._clients = clients
        self._target = target

    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        queue = self._target.queues[lane]
        task = self._task(recheck, at, queue)
        async with google_errors_as(SchedulerUnavailable):
            try:
                await self._clients().tasks.create_task(parent=queue, task=task, **bounded())
            except AlreadyExists:
                return  # an earlier call created this task; Cloud Tasks delivers it or has delivered it

    def _task(self, recheck: Recheck, at: datetime, queue: str) -> Task:
        target = self._target
        account = target.service_account
        request = HttpRequest(
            url=target.url,
            http_method=HttpMethod.POST,
            headers={"Content-Type": "application/json", **tracing.headers()},
            body=json.dumps(asdict(recheck)).encode(),
            oidc_token=OidcToken(service_account_email=account, audience=target.audience) if account else None,
        )
        name = f"{queue}/tasks/{task_name(recheck)}"
        return Task(name=name, http_request=request, schedule_time=at, dispatch_deadline=DISPATCH_DEADLINE)
