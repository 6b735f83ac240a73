"""Makes a failing plan smaller: leaves out and simplifies entries as long as the same invariant is violated."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.simulation.invariants import check
from tests.simulation.plan import Plan, PlanSettings
from tests.simulation.simulate import run_plan

MAX_SECONDS = 45.0
T = TypeVar("T")


def shrink(plan: Plan, invariant: str, *, seconds: float = MAX_SECONDS) -> Plan:
    """Returns the smallest plan found within that time whose history still violates the invariant of this name."""
    give_up_at = time.monotonic() + seconds

    def fails(candidate: Plan) -> bool:
        return time.monotonic() < give_up_at and _violates(candidate, invariant)

    while (smaller := _first(fails, _smaller(plan))) is not None:
        plan = smaller
    return plan


def _violates(plan: Plan, invariant: str) -> bool:
    return invariant in {violation.invariant for violation in check(plan, run_plan(plan))}


def _first(fails: Callable[[Plan], bool], candidates: Iterator[Plan]) -> Plan | None:
    return next(filter(fails, candidates), None)


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Yields plans that lack entries, halves first, and then plans with simpler entries and usual settings."""
    yield from (replace(plan, faults=faults) for faults in _without_some(plan.faults))
    yield from (replace(plan, clients=clients) for clients in _without_some(plan.clients))
    for number, client in enumerate(plan.clients):
        for simpler in client.simplifications():
            yield replace(plan, clients=(*plan.clients[:number], simpler, *plan.clients[number + 1 :]))
    for name in PlanSettings.__dataclass_fields__:
        usual = getattr(PlanSettings(), name)
        if getattr(plan.settings, name) != usual:
            yield replace(plan, settings=replace(plan.settings, **{name: usual}))


def _without_some(entries: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    size = len(entries)
    while size > 0:
        for start in range(0, len(entries), size):
            yield entries[:start] + entries[start + size :]
        size //= 2
