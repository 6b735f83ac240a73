"""Runs the plan of one seed and checks every invariant."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from tests.simulation import loop
from tests.simulation.history import History
from tests.simulation.invariants import Violation, check
from tests.simulation.make_plan import make_plan
from tests.simulation.plan import Plan
from tests.simulation.world import World


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of one plan. `virtual_seconds` is how long it lasted on its own clock."""

    seed: int
    violations: list[Violation]
    runs: int
    paid_calls: int
    virtual_seconds: float


@contextmanager
def silently() -> Iterator[None]:
    """Writes no log, and no warning about what a process that died has left behind."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a process that dies leaves coroutines that never began
            yield
    finally:
        logging.disable(previous)


def run_plan(plan: Plan, *, is_logged: bool = False) -> History:
    """Returns the history of the plan: the same for the same plan, always."""
    with silently():
        return loop.run(lambda: World(plan, is_logged=is_logged).run())


def run_seed(seed: int) -> Outcome:
    plan = make_plan(seed)
    history = run_plan(plan)
    return Outcome(
        seed=seed,
        violations=check(plan, history),
        runs=len(history.final),
        paid_calls=len(history.paid),
        virtual_seconds=history.ended_at,
    )
