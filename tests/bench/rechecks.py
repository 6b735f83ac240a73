"""Simulates the plan of re-checks: how often a job is looked at, and how long its end stays unseen on average.

    python -m tests.bench.rechecks

Durations have three shapes: log-normal (two thirds within a fifth of the median), bimodal (two jobs in five take half
as long as the others) and heavy-tailed (one in ten is lengthened by a Pareto factor without a finite variance). A plan
learns as the system does: it sees only between which of its own checks a job has ended.

"Best" is the least lag that any plan can have with as many checks, if it knows the distribution itself.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, count
from random import Random
from statistics import fmean, median

from shared.domain.best_plan import PRICED_SECONDS, PRICES, best_plan
from shared.domain.durations import MAX_JOBS, Durations, one_duration
from shared.domain.recheck_plan import MAX_GAP_SECONDS, RecheckPlan
from shared.domain.status import Service

MEDIANS = (5, 70, 1800)
KNOWN = (0, 1, 2, 5, 10, 20, 35, 50)
STAGES = tuple(f"{jobs} known" for jobs in KNOWN[:-1])
DOUBLING, BOUNDED = "doubling", "doubling to a minute"
JOBS = 1000
"""Jobs by which a row is measured."""
REPLANNED = 1.25
"""A plan is chosen anew after so many times as many jobs, as a cache of a minute has it."""
LONGEST = 80_000.0

Draw = Callable[[Random], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    shape: str
    median: int
    name: str
    checks: float
    """The mean number of checks of a job, with the one that finds its end."""
    lag: float
    """The mean time from a job's end to that check, in seconds."""
    best: float | None = None


def log_normal(random: Random) -> float:
    return random.lognormvariate(0, 0.2)


def bimodal(random: Random) -> float:
    return (0.5 if random.random() < 0.4 else 1.0) * random.lognormvariate(0, 0.08)


def heavy_tailed(random: Random) -> float:
    body = random.lognormvariate(0, 0.1)
    return body * random.paretovariate(2) if random.random() < 0.1 else body


SHAPES: dict[str, Draw] = {"log-normal": log_normal, "bimodal": bimodal, "heavy-tailed": heavy_tailed}


def measure(*, repeats: int = 12, seed: int = 1) -> list[Row]:
    """Returns the rows of all shapes and medians; each stage of the plan is the mean of so many learners."""
    rows: list[Row] = []
    for shape, draw in SHAPES.items():
        relative = sorted(draw(Random(f"{seed} {shape} {number}")) for number in range(JOBS))
        middle = median(relative)
        for scale in MEDIANS:
            jobs = [min(job * scale / middle, LONGEST) for job in relative]
            learners = [Learner(draw, scale / middle, Random(f"{seed} {shape} {scale} {n}")) for n in range(repeats)]
            rows += _rows(shape, scale, jobs, learners)
    return rows


@dataclass(frozen=True, slots=True)
class Learner:
    """Sees one job after the other, of durations that `draw` returns, times `factor`."""

    draw: Draw
    factor: float
    random: Random

    def plans(self, stages: Iterable[int]) -> dict[int, RecheckPlan]:
        """Returns the plan at each stage, {known jobs: plan}."""
        wanted, known = sorted(stages), Durations()
        plan, planned_at, found = RecheckPlan(chosen=best_plan(known)), 0, {}
        for jobs in range(wanted[-1] + 1):
            if jobs in wanted or jobs >= REPLANNED * planned_at:
                plan, planned_at = RecheckPlan(chosen=best_plan(known)), jobs
            if jobs in wanted:
                found[jobs] = plan
            job = min(self.draw(self.random) * self.factor, LONGEST)
            checks, seen_at = first_after(plan.offsets(), job)
            after = plan.last_check_before(timedelta(seconds=seen_at), checks=checks)
            known = known.updated(one_duration(after, seen_at, known=known), most=MAX_JOBS)
        return found


def _rows(shape: str, scale: int, jobs: Sequence[float], learners: Sequence[Learner]) -> Iterator[Row]:
    curve = best_curve(jobs)
    stages: dict[int, list[tuple[float, float]]] = {}
    for repeat, learner in enumerate(learners):
        learned = learner.plans(KNOWN if repeat % 3 else (*KNOWN, MAX_JOBS))
        for known, plan in learned.items():
            stages.setdefault(known, []).append(evaluate(plan.offsets(), jobs))
    for known, measured in stages.items():
        checks, lag = (fmean(values) for values in zip(*measured, strict=True))
        best = lag_at(curve, checks)
        yield Row(shape=shape, median=scale, name=f"{known} known", checks=checks, lag=lag, best=best)
    for name, offsets in (("every 2 s", count(2, 2)), (DOUBLING, doubling()), (BOUNDED, doubling(MAX_GAP))):
        checks, lag = evaluate(offsets, jobs)
        yield Row(shape=shape, median=scale, name=name, checks=checks, lag=lag, best=lag_at(curve, checks))


MAX_GAP = MAX_GAP_SECONDS[Service.STANDARD]


def first_after(offsets: Iterable[float], duration: float) -> tuple[int, float]:
    """Returns (number of checks, offset of the check that finds the end)."""
    return next((number, offset) for number, offset in enumerate(offsets, 1) if offset >= duration)


def evaluate(offsets: Iterable[float], jobs: Sequence[float]) -> tuple[float, float]:
    """Returns (mean checks, mean lag) of jobs whose durations rise."""
    row = iter(offsets)
    checks, offset, made, lags = 0, 0.0, [], []
    for duration in jobs:
        while offset < duration:
            checks, offset = checks + 1, next(row)
        made.append(checks)
        lags.append(offset - duration)
    return fmean(made), fmean(lags)


def doubling(max_gap: float = math.inf) -> Iterator[float]:
    """Yields 1, 2, 4, 8, …, with gaps of at most `max_gap`."""
    offset = 1.0
    while True:
        yield offset
        offset += min(offset, max_gap)


def best_curve(jobs: Sequence[float]) -> list[tuple[float, float]]:
    """Returns (checks, lag) of the best plans of all prices of a check, for jobs whose durations rise."""
    quantiles = [jobs[len(jobs) * number // 100] for number in range(100)]
    tail = [jobs[-1] * 0.95**number for number in range(200) if jobs[-1] * 0.95**number > quantiles[90]]
    grid = sorted({0.0, *quantiles, *tail, jobs[-1]})
    ended = [bisect_right(jobs, offset) for offset in grid]
    sums = list(accumulate(jobs, initial=0.0))
    prices = [jobs[len(jobs) // 2] * 2.0**-power for power in range(-1, 14)]
    return sorted(_best(grid, ended, [sums[number] for number in ended], price) for price in prices)


def _best(grid: Sequence[float], ended: Sequence[int], sums: Sequence[float], price: float) -> tuple[float, float]:
    last, total = len(grid) - 1, ended[-1]
    costs, following = [0.0] * (last + 1), [0] * (last + 1)

    def lag(before: int, at: int) -> float:
        return grid[at] * (ended[at] - ended[before]) - (sums[at] - sums[before])

    for before in range(last - 1, -1, -1):
        paid = price * (total - ended[before])
        costs[before], following[before] = min(
            (paid + lag(before, at) + costs[at], at) for at in range(before + 1, last + 1)
        )
    checks, lags, at = 0, 0.0, 0
    while at < last:
        checks, lags, at = checks + total - ended[at], lags + lag(at, following[at]), following[at]
    return checks / total, lags / total


def lag_at(curve: Sequence[tuple[float, float]], checks: float) -> float | None:
    """Returns the least lag of so many checks; None outside the curve."""
    for (fewer, longer), (more, shorter) in zip(curve, curve[1:], strict=False):
        if fewer <= checks <= more:
            return longer + (shorter - longer) * (checks - fewer) / ((more - fewer) or 1.0)
    return None


def row_of(rows: Iterable[Row], like: Row, name: str) -> Row:
    """Returns the row of that name with the shape and the median of another one."""
    return next(row for row in rows if (row.shape, row.median, row.name) == (like.shape, like.median, name))


def price(seconds: float) -> float:
    """Returns what a check is worth after so long, in seconds of lag, when durations are known."""
    return PRICES[Service.STANDARD] * math.sqrt(seconds / PRICED_SECONDS)


def main() -> None:
    print("\nre-checks of one run, and seconds from the end of its job until it is known (simulated)")
    print(f"{'shape':<14}{'median':>8}  {'plan':<22}{'checks':>8}{'mean lag':>10}{'best':>8}")
    for row in measure():
        if row.name in ("1 known", "2 known", "10 known", "35 known"):
            continue
        best = "" if row.best is None else f"{row.best:.2f}"
        print(f"{row.shape:<14}{row.median:>6} s  {row.name:<22}{row.checks:>8.1f}{row.lag:>10.2f}{best:>8}")


if __name__ == "__main__":
    main()
