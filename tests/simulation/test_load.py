"""A growing load against the limits of the deployed system: what a run needs, and how late results are shown."""

import re
from pathlib import Path
from typing import Any

import pytest

from infra import capacity, cost
from tests.simulation.load import play, row_of

OPERATIONS = (Path(__file__).parents[2] / "infra" / "OPERATIONS.md").read_text()
RATE = capacity.RUNS_A_MINUTE / 60


def figures(row: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", row)]


def documented(factor: int, queues: int) -> Any:
    """Returns the row of infra/OPERATIONS.md: other code takes other chances, so that figures differ a little."""
    [row] = re.findall(rf"^\| {factor}× \| {queues} \|.*% \|$", OPERATIONS, re.MULTILINE)
    return pytest.approx(figures(row), rel=0.3, abs=0.5)


def test_a_run_needs_what_the_arithmetic_of_costs_and_limits_assumes() -> None:
    of, assumed = play(rate=RATE, seconds=60), cost.counts_of(60)
    assert of.completed == of.runs
    assert of.checks == pytest.approx(assumed.checks, abs=1.5), "the arithmetic knows the durations from the start"
    assert of.writes == pytest.approx(4, rel=0.01) and assumed.writes > 4, "permits and durations come besides"
    assert figures(row_of(1, 1, of)) == documented(1, 1)


@pytest.mark.parametrize("queues", [1, 5])
def test_a_full_queue_delays_results_and_loses_no_run_and_more_queues_mend_it(queues: int) -> None:
    of = play(rate=100 * RATE, seconds=60, queues=queues)
    assert of.completed == of.runs
    assert figures(row_of(100, queues, of)) == documented(100, queues)
    assert (of.slow_result_lag > 8) == (queues == 1)


def test_a_function_without_places_delays_runs_and_loses_none() -> None:
    of = play(rate=100_000 * RATE, seconds=20, queues=100_000)
    assert of.refused > 0 and of.completed == of.runs
