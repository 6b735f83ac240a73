"""Creates named tasks in Cloud Tasks, which send a POST request with a JSON body to one of our functions."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import AlreadyExists

from shared import tracing
from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.task_targets import HttpTarget
from shared.errors import SchedulerUnavailable

if TYPE_CHECKING:
    from google.cloud.tasks_v2 import Task


class NamedTasks:
    """Makes tasks for one function, which has `dispatch_deadline` to answer each."""

    def __init__(self, clients: ClientsByLoop, target: HttpTarget, *, dispatch_deadline: timedelta) -> None:
        self._clients = clients
        self._target = target
        self._dispatch_deadline = dispatch_deadline

    async def create(self, queue: str, name: str, body: Mapping[str, Any], *, at: datetime) -> None:
        """Does nothing when a task of this name has existed in the queue. Raises SchedulerUnavailable."""
        task = self._task(f"{queue}/tasks/{name}", body, at)
        async with google_errors_as(SchedulerUnavailable):
            try:
                await self._clients().tasks.create_task(parent=queue, task=task, **bounded())
            except AlreadyExists:
                return  # an earlier call created this task; Cloud Tasks delivers it or has delivered it

    def _task(self, name: str, body: Mapping[str, Any], at: datetime) -> "Task":
        """Imports the library with the first task: a sweep that finds nothing needs none."""
        from google.cloud.tasks_v2 import HttpMethod, HttpRequest, OidcToken, Task

        target, account = self._target, self._target.service_account
        request = HttpRequest(
            url=target.url,
            http_method=HttpMethod.POST,
            headers={"Content-Type": "application/json", **tracing.headers()},
            body=json.dumps(body).encode(),
            oidc_token=OidcToken(service_account_email=account, audience=target.audience) if account else None,
        )
        return Task(name=name, http_request=request, schedule_time=at, dispatch_deadline=self._dispatch_deadline)
