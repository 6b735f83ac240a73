"""Makes a failing plan smaller: leaves out and simplifies entries as long as the same invariant is violated."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from shared.domain.frozen import replace
from tests.simulation.invariants import check
from tests.simulation.plan import Plan, PlanSettings
from tests.simulation.simulate import run_plan

MAX_SECONDS = 45.0
T = TypeVar("T")


def shrink(plan: Plan, fails: Callable[[Plan], bool], *, seconds: float = MAX_SECONDS) -> Plan:
    """Returns the smallest plan found within that time for which `fails` still returns True."""
    give_up_at = time.monotonic() + seconds

    def fails_in_time(candidate: Plan) -> bool:
        return time.monotonic() < give_up_at and fails(candidate)

    while (smaller := next(filter(fails_in_time, _smaller(plan)), None)) is not None:
        plan = smaller
    return plan


def violates(invariant: str) -> Callable[[Plan], bool]:
    """Returns whether the history of a plan violates the invariant of this name."""

    def fails(plan: Plan) -> bool:
        return invariant in {violation.invariant for violation in check(plan, run_plan(plan))}

    return fails


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Yields plans that lack entries, halves first, and then plans with simpler entries and usual settings."""
    yield from (replace(plan, faults=faults) for faults in _without_some(plan.faults))
    yield from (replace(plan, clients=clients) for clients in _without_some(plan.clients))
    for number, client in enumerate(plan.clients):
        for simpler in client.simplifications():
            yield replace(plan, clients=(*plan.clients[:number], simpler, *plan.clients[number + 1 :]))
    for name in PlanSettings.__struct_fields__:
        usual = getattr(PlanSettings(), name)
        if getattr(plan.settings, name) != usual:
            yield replace(plan, settings=replace(plan.settings, **{name: usual}))


def _without_some(entries: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    size = len(entries)
    while size > 0:
        for start in range(0, len(entries), size):
            yield entries[:start] + entries[start + size :]
        size //= 2
