"""A growing load against the limits of the deployed system: what a run needs, and how late results are shown."""

from pathlib import Path

import pytest

from infra import capacity, cost
from tests.simulation.load import play, row_of

OPERATIONS = (Path(__file__).parents[2] / "infra" / "OPERATIONS.md").read_text()
RATE = capacity.RUNS_A_MINUTE / 60


def test_a_run_needs_what_the_arithmetic_of_costs_and_limits_assumes() -> None:
    of, assumed = play(rate=RATE, seconds=60), cost.counts_of(60)
    assert of.completed == of.runs == 180
    assert of.checks == assumed.checks
    assert of.writes == assumed.writes - 2, "the arithmetic has the permits of both limits besides"
    assert of.requests == pytest.approx(assumed.requests - 2, rel=0.01), (
        "the arithmetic has submit_run and a stream besides"
    )
    assert row_of(1, 1, of) in OPERATIONS


@pytest.mark.parametrize("queues", [1, 5])
def test_a_full_queue_delays_results_and_loses_no_run_and_more_queues_mend_it(queues: int) -> None:
    of = play(rate=100 * RATE, seconds=60, queues=queues)
    assert of.completed == of.runs == 180
    assert row_of(100, queues, of) in OPERATIONS
    assert (of.slow_result_lag > 10) == (queues == 1)


def test_a_function_without_places_delays_runs_and_loses_none() -> None:
    of = play(rate=100_000 * RATE, seconds=20, queues=100_000)
    assert of.refused > 0 and of.completed == of.runs
