"""The first seeds hold every invariant, and a seed always makes the same history."""

import pytest

from shared.domain.frozen import replace
from tests.simulation.faults import Kill
from tests.simulation.make_plan import make_plan
from tests.simulation.plan import Plan
from tests.simulation.shrink import shrink
from tests.simulation.simulate import run_plan, run_seed

SEEDS = 80
SLICE = 20


@pytest.mark.parametrize("first", range(1, SEEDS + 1, SLICE))
def test_the_first_seeds_hold_every_invariant(first: int) -> None:
    for seed in range(first, first + SLICE):
        outcome = run_seed(seed)
        assert not outcome.violations, f"make simulate SEED={seed}: {outcome.violations[0]}"


@pytest.mark.parametrize("seed", [1, 7, 12])
def test_a_seed_makes_the_same_history_each_time(seed: int) -> None:
    first, second = [run_plan(make_plan(seed), is_logged=True) for _ in range(2)]
    assert first.log == second.log
    assert first.final == second.final
    assert first.seen == second.seen and first.streams == second.streams


def test_a_plan_is_told_in_words_with_one_line_for_each_entry() -> None:
    plan = make_plan(1)
    assert len(plan.in_words().splitlines()) == 1 + len(plan.clients) + len(plan.faults)


def test_shrinking_keeps_only_what_a_failure_needs() -> None:
    plan = replace(make_plan(2), faults=(*make_plan(3).faults, Kill(function="api", start=3.0)))

    def fails(candidate: Plan) -> bool:
        return any(isinstance(fault, Kill) for fault in candidate.faults)

    small = shrink(plan, fails)
    assert small.faults == (Kill(function="api", start=3.0),)
    assert small.clients == ()
