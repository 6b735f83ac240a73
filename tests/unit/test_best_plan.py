"""The choice of the offsets: its bounds whatever is known, and how few checks and how little lag it takes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.best_plan import FIRST_PLAN, MAX_OFFSETS, best_plan
from shared.domain.durations import Durations, one_duration
from shared.domain.status import Service
from tests.bench import rechecks
from tests.unit.test_durations import sketches


@given(sketches, st.sampled_from(Service))
def test_offsets_rise_and_are_few_whatever_is_known(known: Durations, service: Service) -> None:
    plan = best_plan(known, service)
    assert 0 < len(plan) <= MAX_OFFSETS and plan[0] >= 1
    assert all(after > before for before, after in pairwise(plan))
    assert best_plan(known, service) == plan


def test_nothing_known_is_the_first_plan() -> None:
    assert best_plan(Durations()) == FIRST_PLAN


def known_of(*seconds: float) -> Durations:
    known = Durations()
    for duration in seconds:
        known = known.merged(one_duration(duration * 0.97, duration, known=known))
    return known


def test_the_first_look_is_a_little_before_the_median_and_the_next_ones_are_close() -> None:
    plan = best_plan(known_of(*range(56, 86)))
    near = [offset for offset in plan if 50 <= offset <= 90]
    assert len(plan) - len(near) <= 2 and len(near) >= 6
    assert max(after - before for before, after in pairwise(near)) <= 8


def test_between_two_groups_of_durations_nothing_is_looked_at() -> None:
    plan = best_plan(known_of(*[20, 21, 22] * 10, *[200, 205, 210] * 10))
    assert not [offset for offset in plan if 35 < offset < 150]


def test_batches_are_looked_at_on_their_own_scale() -> None:
    known = known_of(*range(3 * 3600, 5 * 3600, 240))
    batch, standard = best_plan(known, Service.BATCH), best_plan(known)
    gaps = [after - before for before, after in pairwise(batch) if before > 9000 and after < 20_000]
    assert min(gaps) > 120 and max(gaps) <= 1200 and len(batch) < len(standard)


@pytest.mark.slow
def test_at_70_seconds_six_checks_and_three_seconds_suffice_and_before_50_jobs_nothing_is_worse_than_doubling() -> None:
    rows = rechecks.measure(repeats=6)
    known = [row for row in rows if row.median == 70 and row.name in ("50 known", "200 known")]
    assert len(known) == 2 * len(rechecks.SHAPES)
    for row in known:
        assert row.checks <= 6 and row.lag <= 3, row
    unsure = [row for row in rows if row.name in rechecks.STAGES]
    assert len(unsure) == len(rechecks.STAGES) * len(rechecks.SHAPES) * len(rechecks.MEDIANS)
    for row in unsure:
        check_that_it_is_not_worse_than_doubling(row, rows)
    for row in (*known, *unsure):
        assert row.best is None or row.best <= row.lag * 1.05, "no plan is better than the best possible one"


def check_that_it_is_not_worse_than_doubling(row: rechecks.Row, rows: list[rechecks.Row]) -> None:
    """At 30 minutes doubling has gaps of a quarter of an hour: there, only checks of doubling to a minute compare."""
    doubling, bounded = (rechecks.row_of(rows, row, name) for name in (rechecks.DOUBLING, rechecks.BOUNDED))
    assert row.lag <= doubling.lag and row.checks <= bounded.checks * 1.01, (row, doubling, bounded)
    assert row.checks <= doubling.checks or row.median > 1000, (row, doubling)
    price = rechecks.price(row.median)
    assert row.lag + price * row.checks <= doubling.lag + price * doubling.checks, (row, doubling)
