"""The command behind `make simulate`: runs many seeds on all cores, or replays one seed with its log."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from itertools import count

from tests.simulation.invariants import check
from tests.simulation.make_plan import make_plan
from tests.simulation.shrink import shrink, violates
from tests.simulation.simulate import Outcome, run_plan, run_seed

MIN_SEEDS = 1000
"""With a time and no number of seeds, at least so many run, however long they take."""
START = "fork" if sys.platform == "linux" else "spawn"
"""How a process that runs seeds is made: a fork need not import what this one has imported."""
REPORT_SECONDS = 10.0
CHUNK = 8


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    if options.seed is not None:
        return replay(options.seed)
    return run_many(options.start, seeds=options.seeds, seconds=options.seconds)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed and print what happens in it")
    parser.add_argument("--seeds", type=int, help="how many seeds run")
    parser.add_argument("--seconds", type=float, help=f"for how long seeds run, at least {MIN_SEEDS}")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    return parser.parse_args(arguments)


def run_many(start: int, *, seeds: int | None, seconds: float | None) -> int:
    """Returns 1 at the first violation, after it has printed how to replay it."""
    began = time.monotonic()
    totals = _Totals(began)
    wanted = seeds if seeds is not None or seconds is not None else MIN_SEEDS
    least = seeds if seeds is not None else MIN_SEEDS
    numbers = iter(range(start, start + wanted)) if wanted is not None else count(start)
    with multiprocessing.get_context(START).Pool(os.cpu_count()) as pool:
        for outcome in pool.imap_unordered(run_seed, _paced(numbers, totals), chunksize=CHUNK):
            totals.add(outcome)
            if outcome.violations:
                totals.are_final = True
                pool.terminate()
                explain(outcome.seed)
                return 1
            if seconds is not None and totals.seeds >= least and time.monotonic() - began > seconds:
                totals.are_final = True
                pool.terminate()
                break
    print(f"no violation: {totals}")
    return 0


class _Totals:
    def __init__(self, began: float) -> None:
        self.seeds = 0
        self.are_final = False
        self._runs = 0
        self._paid_calls = 0
        self._virtual_seconds = 0.0
        self._began = self._reported = began

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self._runs += outcome.runs
        self._paid_calls += outcome.paid_calls
        self._virtual_seconds += outcome.virtual_seconds
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            print(f"  {self}", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        spent = time.monotonic() - self._began
        hours = self._virtual_seconds / 3600
        return (
            f"{self.seeds} seeds in {spent:.0f} s ({self.seeds / spent:.1f} a second), {self._runs} runs, "
            f"{self._paid_calls} paid calls, {hours:.0f} hours of virtual time"
        )


def _paced(numbers: Iterator[int], totals: _Totals) -> Iterator[int]:
    """Yields the numbers, not far ahead of what has run: the pool takes an endless row for a list otherwise."""
    for given, number in enumerate(numbers):
        while given - totals.seeds > 32 * CHUNK and not totals.are_final:
            time.sleep(0.01)
        if totals.are_final:
            return
        yield number


def explain(seed: int) -> None:
    """Prints the violations of a seed, the line that replays it and the smallest plan that shows the first one."""
    plan = make_plan(seed)
    violations = check(plan, run_plan(plan))
    print(f"\nseed {seed} violates:")
    for violation in violations:
        print(f"  {violation}")
    print(f"replay it with: make simulate SEED={seed}")
    small = shrink(plan, violates(violations[0].invariant))
    print(f"\nthe smallest schedule found that violates “{violations[0].invariant.replace('_', ' ')}”:")
    print(small.in_words())
    for violation in check(small, run_plan(small)):
        print(f"  → {violation}")


def replay(seed: int) -> int:
    """Prints the seed's plan, its log and its violations. Returns 1 when it has some."""
    plan = make_plan(seed)
    history = run_plan(plan, is_logged=True)
    print(plan.in_words(), *history.log, sep="\n")
    for run_id, run in history.final.items():
        print(f"run {run_id[-4:]}: {run.status}{f', {run.error.code}' if run.error else ''}")
    violations = check(plan, history)
    if violations:
        explain(seed)
        return 1
    print("no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
