"""Tests tallies: sums of runs with a histogram from which percentiles are read."""

from datetime import timedelta

import pytest

from shared.domain.failure import Failure
from shared.domain.result import Result, Usage
from shared.domain.tally import LAST_BUCKET, Tally, bucket_of, tally_of, total
from tests.contract.runs import NOW, a_run


@pytest.mark.parametrize("seconds", [0.11, 0.5, 1.0, 2.0, 9.99, 60.0, 3600.0, 70_000.0])
def test_a_percentile_is_off_by_an_eighth_at_most(seconds: float) -> None:
    for share in (0.5, 0.95, 0.99):
        found = Tally(seconds={bucket_of(seconds): 1}).percentile(share)
        assert found is not None and seconds / 1.13 <= found <= seconds * 1.13


def test_percentiles_of_a_hundred_durations_are_in_their_order() -> None:
    tally = total(Tally(seconds={bucket_of(float(number)): 1}) for number in range(1, 101))
    half, most, nearly_all = (tally.percentile(share) for share in (0.5, 0.95, 0.99))
    assert half == pytest.approx(50, rel=0.13)
    assert most == pytest.approx(95, rel=0.13)
    assert nearly_all == pytest.approx(99, rel=0.13)
    assert Tally().percentile(0.5) is None


def test_extreme_durations_have_a_bucket() -> None:
    assert (bucket_of(-1.0), bucket_of(0.0), bucket_of(0.1), bucket_of(1e9)) == (0, 0, 0, LAST_BUCKET)


def test_only_completed_runs_have_a_duration_and_only_failed_ones_a_code() -> None:
    claimed = a_run().claimed(NOW, lease=timedelta(hours=1))
    later = NOW + timedelta(seconds=1)
    done = tally_of(claimed.completed(later, result=Result(text="t"), usage=Usage(cost_usd=0.001), checks=1))
    failed = tally_of(claimed.failed(later, error=Failure(code="llm_refused", message="m"), may_be_billed=False))
    cancelled = tally_of(claimed.cancelled(later))
    assert (done.runs, done.failed, done.cost, done.failures, done.seconds) == (1, 0, 1_000_000, {}, {10: 1})
    assert (failed.failed, failed.failures, failed.seconds) == (1, {"llm_refused": 1}, {})
    whole = total([done, failed, cancelled, failed])
    assert (whole.runs, whole.failed, whole.failures, whole.seconds) == (4, 2, {"llm_refused": 2}, {10: 1})
