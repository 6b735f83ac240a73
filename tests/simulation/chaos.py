"""Does what a plan's faults do by themselves, at their time, and calls the sweeper."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.adapters.storage.run_document import to_document
from shared.domain.run import Event, EventType, Kind, Run, Status
from tests.simulation.faults import ExtraSweep, Kill, LoseAll, OtherRelease, Pause, Rollout
from tests.simulation.instance import EPOCH

if TYPE_CHECKING:
    from tests.simulation.world import World

SWEEP_SECONDS = 180.0
"""How long the scheduler waits for the sweeper's answer."""


class Chaos:
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
                    self._at(start, world.queue.lose_all, fault)
                case LoseAll(start=start):
                    self._at(start, world.tasks.lose_all, fault)
                case Rollout(start=start):
                    self._at(start, self._roll_out, str(fault))
                case OtherRelease(start=start):
                    self._at(start, self._put_odd_document, fault)

    def _at(self, start: float, act: Any, *values: Any) -> None:
        self._world.loop.call_at(start, act, *values)

    async def _sweep_for_ever(self) -> None:
        """Cloud Scheduler does not wait for the answer of the call before."""
        interval = self._world.plan.knobs.sweep
        while True:
            await asyncio.sleep(interval)
            now = self._world.now
            if any(one.start <= now < one.start + one.seconds for one in self._pauses):
                self._world.touch(None, "the sweeper is not called")
            else:
                self._world.background(self._sweep())

    def _sweep_twice(self) -> None:
        for _ in range(2):
            self._world.background(self._sweep())

    async def _sweep(self) -> None:
        status = await self._world.caller.call("sweep_runs", {}, within=SWEEP_SECONDS, about=None)
        if status != 204:
            self._world.touch(None, f"sweep_runs answered {status}")

    def _roll_out(self, why: str) -> None:
        world = self._world
        world.is_rolled_out = True
        for function in ("api", "process_run", "recheck_run", "sweep_runs", "bury_run"):
            world.kill(function, why, place=0)

    def _put_odd_document(self, fault: OtherRelease) -> None:
        """The run is in the user's list and channel; it is open and due unless only one of its events is odd."""
        world = self._world
        run = _odd_run(world, fault)
        document: dict[str, Any] = to_document(run)
        if fault.oddity == "event":
            document["events"][0]["type"] = "run.reviewed"
        elif fault.oddity == "time":
            document["deadline_at"] = "soon"
        else:
            document[fault.oddity] = "paused" if fault.oddity == "status" else "telegram"
        names = ("id", "user_id", "kind", "job_type", "question_id", "created_at", "due_at", "updated_at", "shard")
        keys = {name: getattr(run, name) for name in (*names, "channel", "tenant_id")}
        keys["status"] = document["status"]
        world.note("another release", f"stores {run.id[-4:]} with an unknown {fault.oddity}")
        world.tables.put_document(document, keys)
        if not run.is_terminal:
            world.queue.publish(run.id)


def _odd_run(world: "World", fault: OtherRelease) -> Run:
    now = EPOCH + timedelta(seconds=world.now)
    run_id, has_ended = world.new_run_id(), fault.oddity == "event"
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
