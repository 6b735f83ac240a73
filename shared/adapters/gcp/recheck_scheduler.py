"""Schedules re-checks as named Cloud Tasks, which send a POST request to recheck_run."""

from datetime import datetime, timedelta

from msgspec.structs import asdict

from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.named_tasks import NamedTasks
from shared.adapters.gcp.task_targets import TaskTarget
from shared.adapters.storage.task_name import task_name
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane

DISPATCH_DEADLINE = timedelta(minutes=10)


class CloudTasksRecheckScheduler:
    def __init__(self, clients: ClientsByLoop, target: TaskTarget) -> None:
        self._queues = target.queues
        self._tasks = NamedTasks(clients, target, dispatch_deadline=DISPATCH_DEADLINE)

    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        await self._tasks.create(self._queues[lane], task_name(recheck), asdict(recheck), at=at)
