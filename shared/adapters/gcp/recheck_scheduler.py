"""Re-checks as named Cloud Tasks that call recheck_run."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud.tasks_v2 import HttpMethod, HttpRequest, OidcToken, Task

from shared.adapters.gcp.bounds import bounded, calling
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.storage.task_name import task_name
from shared.errors import SchedulerUnavailable
from shared.ports import Recheck

DISPATCH_DEADLINE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTarget:
    """`queue`: projects/{project}/locations/{location}/queues/{queue}; `url` and `audience` are recheck_run's.

    The audience is set and not left to the default, which is the URL with its path.
    """

    queue: str
    url: str
    audience: str
    service_account: str | None


class CloudTasksRecheckScheduler:
    def __init__(self, clients: ClientsByLoop, target: TaskTarget) -> None:
        self._clients = clients
        self._target = target

    async def schedule(self, recheck: Recheck, *, at: datetime) -> None:
        task = self._task(recheck, at)
        async with calling(SchedulerUnavailable):
            try:
                await self._clients().tasks.create_task(parent=self._target.queue, task=task, **bounded())
            except AlreadyExists:
                return  # asked for before, by whomever: it comes or has come

    def _task(self, recheck: Recheck, at: datetime) -> Task:
        target = self._target
        account = target.service_account
        request = HttpRequest(
            url=target.url,
            http_method=HttpMethod.POST,
            headers={"Content-Type": "application/json"},
            body=json.dumps(asdict(recheck)).encode(),
            oidc_token=OidcToken(service_account_email=account, audience=target.audience) if account else None,
        )
        name = f"{target.queue}/tasks/{task_name(recheck)}"
        return Task(name=name, http_request=request, schedule_time=at, dispatch_deadline=DISPATCH_DEADLINE)
