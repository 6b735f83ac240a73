"""The hints of an LLM shorten the time until the end of its job is known, also when they are wrong by a third."""

from collections.abc import Mapping

import pytest

from tests.bench import recheck_hints
from tests.bench.recheck_hints import HintRow
from tests.bench.rechecks import MEDIANS, SHAPES


@pytest.fixture(scope="module")
def rows() -> Mapping[tuple[str, int, int, str], HintRow]:
    return {(row.shape, row.median, row.known, row.hint): row for row in recheck_hints.measure()}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", MEDIANS)
@pytest.mark.parametrize("known", recheck_hints.STAGES)
def test_an_estimate_saves_lag_and_costs_few_checks(
    rows: Mapping[tuple[str, int, int, str], HintRow], shape: str, scale: int, known: int
) -> None:
    none, exact, wrong = (rows[shape, scale, known, hint] for hint in ("none", "exact", "off by a third"))
    assert exact.lag <= none.lag and exact.checks <= none.checks
    assert wrong.lag <= none.lag and wrong.checks <= none.checks + 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_waits_of_ten_seconds_for_one_check_in_ten_delay_the_end_by_less(
    rows: Mapping[tuple[str, int, int, str], HintRow], shape: str
) -> None:
    none, waiting = (rows[shape, 70, 50, hint] for hint in ("none", "wait of 10 s"))
    assert none.lag < waiting.lag < none.lag + recheck_hints.WAIT_SECONDS and waiting.checks <= none.checks + 1
