"""Plays a growing load against the limits of infra/cloud.json, with the real use cases under a virtual clock.

    python -m tests.simulation.load [RUNS_A_MINUTE [SECONDS]]

`make capacity` prints it behind the limits. A hundred times the load on the whole system is played as the load itself
on a hundredth of the system: one run a second or less, and every limit divided by the same number.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from statistics import fmean, median, quantiles
from typing import Any

from msgspec import Struct

from infra import capacity
from infra.cloud import CLOUD
from infra.cost import SPREAD
from shared.domain.status import Lane, Status
from shared.settings import Settings
from tests.simulation import loop
from tests.simulation.deliveries import TOO_MANY_REQUESTS, FunctionCaller
from tests.simulation.history import History
from tests.simulation.instance import EPOCH
from tests.simulation.plan import Plan, PlanSettings, Submit
from tests.simulation.script import LlmScript
from tests.simulation.simulate import silently
from tests.simulation.timers import Task, TaskQueue
from tests.simulation.world import World

MAX_RATE = 1.0
"""The most runs a second that are really played; more load is played on a smaller part of the system."""
LASTS = 300
"""For how many seconds runs are submitted; those of the second half are looked at, when durations are known."""
QUEUES = {1: (1,), 10: (1,), 100: (1, 5), 1000: (1, 50)}
"""{by how much the load has grown: numbers of queues to try}"""


class Played(Struct, frozen=True, kw_only=True):
    """What a load has met. Lags are seconds: from the submit to the LLM call, and from the LLM's end to the result."""

    runs: int
    completed: int
    checks: float
    writes: float
    start_lag: float
    result_lag: float
    slow_result_lag: float
    refused: int
    """Deliveries that found no place."""


class LimitedCaller(FunctionCaller):
    """Refuses what is more than the instances of a function can take at once, as Cloud Run does."""

    def __init__(self, world: World, places: Mapping[str, float]) -> None:
        super().__init__(world)
        self._places = places
        self._taken: dict[str, int] = {}
        self.refused = 0

    async def call(self, function: str, body: Mapping[str, Any], **options: Any) -> int:
        if self._taken.get(function, 0) >= max(self._places.get(function, 1), 1):
            self.refused += 1
            return TOO_MANY_REQUESTS
        self._taken[function] = self._taken.get(function, 0) + 1
        try:
            return await super().call(function, body, **options)
        finally:
            self._taken[function] -= 1


class LimitedQueue(TaskQueue):
    """Dispatches so many tasks a second at most."""

    def __init__(self, world: World, caller: FunctionCaller, *, per_second: float) -> None:
        super().__init__(world, caller)
        self._least_gap = self._gap = 1 / per_second

    async def _deliver(self, task: Task, epoch: int) -> None:
        await super()._deliver(task, epoch)
        self._gap = max(self._gap, self._least_gap)


def play(*, rate: float, seconds: int, queues: int = 1) -> Played:
    """Returns what happens when so many runs a second arrive, whose LLM works for so many seconds."""
    share = min(MAX_RATE / rate, 1.0)
    count = round(rate * share * LASTS)
    submits = tuple(
        Submit(
            name=f"client-{number}",
            at=number / (rate * share),
            user="ann",
            family="job",
            llm=LlmScript(takes=seconds * SPREAD[number * 37 % len(SPREAD)]),
            follow="stream",
        )
        for number in range(count)
    )
    settings = PlanSettings(deadline=3600.0, llm_threads=Settings().llm_threads, sweep=60.0, grace=60.0)
    plan = Plan(seed=1, settings=settings, clients=submits)
    with silently():
        return loop.run(lambda: _played(plan, share, queues))


async def _played(plan: Plan, share: float, queues: int) -> Played:
    world, threads = World(plan), Settings().llm_threads
    places = {
        name: made["max_instances"] * min(made["concurrency"], threads if made["calls_llm"] else made["concurrency"])
        for name, made in CLOUD["functions"].items()
    }
    caller = LimitedCaller(world, {name: number * share for name, number in places.items()})
    per_second = CLOUD["queues"]["rechecks"]["max_dispatches_per_second"] * queues * share
    world.task_queues = {lane: LimitedQueue(world, caller, per_second=per_second) for lane in Lane}
    for subscription in world.queues.values():
        subscription._caller = caller
    return _summary(await world.run(), caller)


def _summary(history: History, caller: LimitedCaller) -> Played:
    submitted = {run.id: (run.created_at - EPOCH).total_seconds() for run in history.final.values()}
    late = {run_id for run_id, at in submitted.items() if at >= LASTS / 2}
    ends = {job.run_id: job.ends for job in history.jobs.values()}
    sent = {call.run_id: call.at for call in reversed(history.paid)}
    completed = [run for run in history.final.values() if run.status is Status.COMPLETED]
    lags = [
        (run.completed_at - EPOCH).total_seconds() - ends[run.id]
        for run in completed
        if run.id in late and run.completed_at is not None
    ]
    checks = Counter(history.jobs[job_id].run_id for _, job_id in history.llm_checks)
    return Played(
        runs=len(submitted),
        completed=len(completed),
        checks=fmean(checks[run_id] for run_id in late),
        writes=len(history.commits) / len(submitted),
        start_lag=quantiles([sent[run_id] - submitted[run_id] for run_id in late], n=20)[-1],
        result_lag=median(lags),
        slow_result_lag=quantiles(lags, n=20)[-1],
        refused=caller.refused,
    )


def row_of(factor: int, queues: int, of: Played) -> str:
    return (
        f"| {factor:,}× | {queues} | {of.checks:.1f} | {of.start_lag:.1f} s | {of.result_lag:.1f} s"
        f" | {of.slow_result_lag:.1f} s | {of.completed / of.runs:.0%} |"
    )


def table(runs_a_minute: float, seconds: int) -> str:
    """Returns a table of Markdown: what each load meets, with the queues of infra/cloud.json and with more of them."""
    lines = [
        "| load | queues | checks of a run | LLM called after | result shown after, median | 95 % | completed |",
        f"|{'---|' * 7}",
    ]
    for factor in capacity.FACTORS:
        for queues in QUEUES[factor]:
            of = play(rate=runs_a_minute / 60 * factor, seconds=seconds, queues=queues)
            lines.append(row_of(factor, queues, of))
    return "\n".join(lines)


if __name__ == "__main__":
    given = sys.argv[1:3]
    runs, length = float(given[0]) if given else capacity.RUNS_A_MINUTE, capacity.SECONDS
    length = int(given[1]) if len(given) > 1 else length
    print(f"\nplayed for {LASTS} s with the real use cases, on a part of the system:\n\n{table(runs, length)}")
