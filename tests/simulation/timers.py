"""Cloud Tasks: named tasks, at least once, throttled by 429 and 503, deleted in silence after their last attempt."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from shared.adapters.storage.task_name import task_name
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from shared.errors import SchedulerUnavailable
from tests.simulation.calls import Calls
from tests.simulation.deliveries import TOO_MANY_REQUESTS, FunctionCaller
from tests.simulation.faults import DeliveryFaultKind, LoseAll
from tests.simulation.history import FaultKind
from tests.simulation.instance import EPOCH

if TYPE_CHECKING:
    from tests.simulation.world import World

JITTER = 0.3
DISPATCH_DEADLINE = 600.0
MAX_BACKOFF = 60.0
BETWEEN_DISPATCHES = 0.002
MAX_BETWEEN_DISPATCHES = 10.0
THROTTLING = frozenset({TOO_MANY_REQUESTS, 503})


@dataclass(slots=True, kw_only=True)
class Task:
    name: str
    body: Mapping[str, Any]
    run_id: str | None
    attempts: int = 0


class TaskQueue:
    def __init__(self, world: "World", caller: FunctionCaller, *, function: str = "recheck_run") -> None:
        self._world = world
        self._function = function
        self._caller = caller
        self._delivery_faults = world.delivery_faults["timers"]
        self._names: set[str] = set()
        self._waiting: dict[str, str | None] = {}
        """The run of each task that has not been dispatched, by its name."""
        self._epoch = 0
        self._gap = BETWEEN_DISPATCHES
        self._next_dispatch = 0.0

    def create(self, recheck: Recheck, at: datetime) -> bool:
        """Returns whether the task was created; a name is used once only."""
        return self.create_task(self.name_of(recheck), asdict(recheck), at, about=recheck.run_id)

    def create_task(self, name: str, body: Mapping[str, Any], at: datetime, *, about: str | None) -> bool:
        """Returns whether the task was created. `about` is the id of the run that the task is about."""
        if name in self._names:
            return False
        self._names.add(name)
        task, due = Task(name=name, body=body, run_id=about), (at - EPOCH).total_seconds()
        fault = self._delivery_faults.next()
        if fault is not None:
            self._world.record_fault(about, str(fault), kind=FaultKind.DELIVERY, part="timers")
        if fault is not None and fault.kind is DeliveryFaultKind.LOST:
            return True
        late = fault.seconds if fault is not None and fault.kind is DeliveryFaultKind.LATE else 0.0
        self._put(task, at=due + late)
        if fault is not None and fault.kind is DeliveryFaultKind.TWICE:
            self._put(Task(name=name, body=body, run_id=about), at=due + fault.seconds)
        return True

    def name_of(self, recheck: Recheck) -> str:
        return task_name(recheck)

    def lose_all(self, fault: LoseAll) -> None:
        for run_id in self._waiting.values():
            self._world.record_fault(run_id, str(fault), kind=FaultKind.DELIVERY, part="timers")
        self._waiting.clear()
        self._names.clear()
        self._epoch += 1

    def _put(self, task: Task, *, at: float) -> None:
        self._waiting[task.name] = task.run_id
        due = max(at, self._world.now) + self._world.random.random() * JITTER
        self._world.loop.call_at(due, self._dispatch, task, self._epoch)

    def _dispatch(self, task: Task, epoch: int) -> None:
        """Waits for the queue's rate and for the end of a pause."""
        now = self._world.now
        pause = self._delivery_faults.paused_until(now)
        if epoch != self._epoch:
            return
        if pause is not None:
            self._world.record_fault(task.run_id, "the timers are paused", kind=FaultKind.DELIVERY, part="timers")
        not_before = max(pause or 0.0, self._next_dispatch)
        if not_before > now:
            self._world.loop.call_at(not_before, self._dispatch, task, epoch)
            return
        self._next_dispatch = now + self._gap
        self._waiting.pop(task.name, None)
        self._world.background(self._deliver(task, epoch))

    async def _deliver(self, task: Task, epoch: int) -> None:
        task.attempts += 1
        run_id, function = task.run_id, self._function
        status = await self._caller.call(
            function,
            task.body,
            within=DISPATCH_DEADLINE,
            about=run_id,
            headers={"x-cloudtasks-taskname": task.name},
        )
        self._world.log("timers", f"{task.name.partition('-')[2][-40:]}: {status}")
        if 200 <= status < 300:
            self._gap = max(self._gap / 2, BETWEEN_DISPATCHES)
            return
        if status in THROTTLING:
            self._gap = min(self._gap * 2, MAX_BETWEEN_DISPATCHES)
        self._world.record_fault(run_id, f"{function} answered {status}", kind=FaultKind.DELIVERY, part="timers")
        self._world.record_fault(None, f"{function} answered {status}", kind=FaultKind.DELIVERY, part="timers")
        if task.attempts < self._world.plan.settings.task_attempts and epoch == self._epoch:
            self._put(task, at=self._world.now + min(2.0 ** (task.attempts - 1), MAX_BACKOFF))
        else:
            self._world.record_fault(run_id, "the task is lost", kind=FaultKind.LOSS, part="timers")


class SimulatedRecheckScheduler:
    """The timers as one instance reaches them. A name that is taken is a success, as in the adapters."""

    def __init__(self, queues: Mapping[Lane, TaskQueue], calls: Calls) -> None:
        self._queues = queues
        self._calls = calls

    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        await self._calls.call(
            "timers.schedule",
            lambda: self._queues[lane].create(recheck, at),
            error=SchedulerUnavailable,
            about=recheck.run_id,
        )
