"""Simulates what the hints of an LLM change of the re-checks: its estimate of the time left, its progress, its waits.

    python -m tests.bench.recheck_hints

`exact` and `off by a third` are an `eta_seconds`; `progress in tenths` is a progress that is rounded down; with
`wait of 10 s` one check in ten is answered with 429 and `Retry-After: 10`, and tells nothing of the job.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from statistics import fmean, median

from shared.domain.progress import MIN_PROGRESS
from shared.domain.recheck_plan import RecheckPlan
from tests.bench.rechecks import LONGEST, MEDIANS, SHAPES, Learner

JOBS = 200
STAGES = (0, 50)
"""How many durations are known when the plan is chosen."""
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What one check tells: `wait` is that of an answer that tells nothing of the job."""

    eta: float | None = None
    wait: float | None = None


Hinting = Callable[[float, float, Random], Hint]
"""(time since the job was sent, its duration, a source of chance) -> what a check at that time tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HintRow:
    shape: str
    median: int
    known: int
    hint: str
    checks: float
    lag: float


def nothing(at: float, duration: float, random: Random) -> Hint:
    return Hint()


def exact(at: float, duration: float, random: Random) -> Hint:
    return Hint(eta=duration - at)


def off_by_a_third(at: float, duration: float, random: Random) -> Hint:
    return Hint(eta=(duration - at) * random.choice((2 / 3, 4 / 3)))


def progress_in_tenths(at: float, duration: float, random: Random) -> Hint:
    progress = int(10 * at / duration) / 10
    return Hint(eta=at * (1 / progress - 1) if progress >= MIN_PROGRESS else None)


def wait_of_ten_seconds(at: float, duration: float, random: Random) -> Hint:
    return Hint(wait=WAIT_SECONDS) if random.random() < 0.1 else Hint()


HINTS: dict[str, Hinting] = {
    "none": nothing,
    "exact": exact,
    "off by a third": off_by_a_third,
    "progress in tenths": progress_in_tenths,
    "wait of 10 s": wait_of_ten_seconds,
}


def measure(*, seed: int = 1) -> Iterator[HintRow]:
    for shape, draw in SHAPES.items():
        relative = [draw(Random(f"{seed} {shape} {number}")) for number in range(JOBS)]
        for scale in MEDIANS:
            factor = scale / median(relative)
            jobs = [min(job * factor, LONGEST) for job in relative]
            plans = Learner(draw, factor, Random(f"{seed} {shape} {scale}")).plans(STAGES)
            for known, plan in plans.items():
                for name, hinting in HINTS.items():
                    random = Random(f"{seed} {shape} {scale} {known} {name}")
                    checked = [checked_until_found(plan, job, hinting, random) for job in jobs]
                    checks, lag = (fmean(values) for values in zip(*checked, strict=True))
                    yield HintRow(shape=shape, median=scale, known=known, hint=name, checks=checks, lag=lag)


def checked_until_found(plan: RecheckPlan, duration: float, hinting: Hinting, random: Random) -> tuple[int, float]:
    """Returns (number of checks, time from the job's end to the check that found it)."""
    checks, at = 1, float(plan.next_offset(timedelta(0)))
    while True:
        hint = hinting(at, max(duration, at), random)
        if hint.wait is None and at >= duration:
            return checks, at - duration
        eta = None if hint.eta is None else timedelta(seconds=hint.eta)
        at = max(float(plan.next_offset(timedelta(seconds=at), eta=eta)), at + (hint.wait or 0.0))
        checks += 1


def main() -> None:
    print("\nre-checks of one run with hints of the LLM, and seconds from the end of its job until it is known")
    print(f"{'shape':<14}{'median':>8}{'known':>7}  {'hint':<20}{'checks':>8}{'mean lag':>10}")
    for row in measure():
        print(f"{row.shape:<14}{row.median:>6} s{row.known:>7}  {row.hint:<20}{row.checks:>8.1f}{row.lag:>10.2f}")


if __name__ == "__main__":
    main()
