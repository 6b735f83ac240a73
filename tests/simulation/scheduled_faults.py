"""Does what a plan's faults do by themselves, at their time, and calls the sweeper."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.adapters.storage.run_document import to_document
from shared.domain.event import Event, EventType
from shared.domain.run import Run
from shared.domain.status import Kind, Lane, Status
from tests.simulation.faults import ExtraSweep, Kill, LoseAll, OtherRelease, Pause, Rollout
from tests.simulation.history import FaultKind
from tests.simulation.instance import EPOCH

if TYPE_CHECKING:
    from tests.simulation.world import World

SWEEP_SECONDS = 180.0
"""How long the scheduler waits for the sweeper's answer."""


class ScheduledFaults:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._pauses = [one for one in world.plan.faults if isinstance(one, Pause) and one.part == "sweeps"]

    def start(self) -> None:
        world = self._world
        world.background(self._sweep_for_ever())
        for fault in world.plan.faults:
            match fault:
                case ExtraSweep(start=start):
                    self._at(start, self._sweep_twice)
                case Kill(function=function, start=start):
                    self._at(start, world.kill, function, str(fault))
                case LoseAll(part="queue", start=start):
                    for queue in world.queues.values():
                        self._at(start, queue.lose_all, fault)
                case LoseAll(start=start):
                    for tasks in (*world.task_queues.values(), world.webhook_queue):
                        self._at(start, tasks.lose_all, fault)
                case Rollout(start=start):
                    self._at(start, self._roll_out, str(fault))
                case OtherRelease(start=start):
                    self._at(start, self._put_foreign_document, fault)

    def _at(self, start: float, kind: Any, *values: Any) -> None:
        self._world.loop.call_at(start, kind, *values)

    async def _sweep_for_ever(self) -> None:
        """Cloud Scheduler does not wait for the answer of the call before."""
        interval = self._world.plan.settings.sweep
        while True:
            await asyncio.sleep(interval)
            now = self._world.now
            if any(one.start <= now < one.start + one.seconds for one in self._pauses):
                self._world.record_fault(None, "the sweeper is not called", kind=FaultKind.DELIVERY, part="")
            else:
                self._world.background(self._sweep())

    def _sweep_twice(self) -> None:
        for _ in range(2):
            self._world.background(self._sweep())

    async def _sweep(self) -> None:
        status = await self._world.caller.call("sweep_runs", {}, within=SWEEP_SECONDS, about=None)
        if status != 204:
            self._world.record_fault(None, f"sweep_runs answered {status}", kind=FaultKind.DELIVERY, part="")

    def _roll_out(self, why: str) -> None:
        world = self._world
        world.is_rolled_out = True
        for function in ("api", "process_run", "recheck_run", "sweep_runs", "bury_run"):
            world.kill(function, why, place=0)

    def _put_foreign_document(self, fault: OtherRelease) -> None:
        """The run is in the user's list and channel; it is open and due unless only one of its events is odd."""
        world = self._world
        run = _foreign_run(world, fault)
        document: dict[str, Any] = to_document(run)
        if fault.change == "event":
            document["events"][0]["type"] = "run.reviewed"
        elif fault.change == "time":
            document["deadline_at"] = "soon"
        else:
            document[fault.change] = "paused" if fault.change == "status" else "telegram"
        names = ("id", "user_id", "kind", "job_type", "question_id", "created_at", "due_at", "updated_at", "shard")
        keys = {name: getattr(run, name) for name in (*names, "channel", "tenant_id")}
        keys["status"], keys["kind"] = document["status"], document["kind"]
        world.log("another release", f"stores {run.id[-4:]} with an unknown {fault.change}")
        world.tables.put_document(document, keys)
        if not run.is_terminal:
            world.queues[Lane.SHORT].publish(run.id)


def _foreign_run(world: "World", fault: OtherRelease) -> Run:
    now = EPOCH + timedelta(seconds=world.now)
    run_id, has_ended = world.new_run_id(), fault.change == "event"
    return Run(
        id=run_id,
        kind=Kind.JOB,
        status=Status.CANCELLED if has_ended else Status.PROCESSING,
        user_id=fault.user,
        organization_id="acme",
        tenant_id="acme",
        channel=f"user:{fault.user}",
        api="llm_jobs",
        created_at=now,
        updated_at=now,
        deadline_at=now + timedelta(hours=1),
        expires_at=now + timedelta(days=30),
        due_at=None if has_ended else now,
        shard=fault.shard,
        root_run_id=run_id,
        input={"full_input": "of another release"},
        job_type="general_llm_request",
        events=(Event(sequence=1, type=EventType.QUEUED, at=now),),
    )
