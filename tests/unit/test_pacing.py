"""The push window of a subscription and the dispatch rate of a queue, as pure values."""

import pytest

from infra.local.pacing import (
    FIRST_WINDOW,
    MAX_PAUSE_SECONDS,
    MIN_PAUSE_SECONDS,
    MIN_RATE,
    MIN_WINDOW,
    DispatchRate,
    Pace,
    PushWindow,
)

WINDOW = PushWindow(max_size=256)
RATE = DispatchRate(max_rate=500, max_burst=100, max_in_flight=1000)


def failing(pace: Pace, times: int, *, status: int = 500) -> Pace:
    """Each time a delivery starts as soon as it may, and fails a second later."""
    now = 1000.0
    for _ in range(times):
        started_at = pace.opens_at(now)
        now = started_at + 1
        pace = pace.after_failure(status, started_at=started_at, now=now)
    return pace


def room(pace: Pace, *, in_flight: int = 0, now: float = 1e6) -> int:
    return pace.room(in_flight=in_flight, now=now)


def test_a_new_subscription_pushes_a_few_messages_at_once() -> None:
    assert room(WINDOW) == FIRST_WINDOW < 10
    assert room(WINDOW, in_flight=3) == FIRST_WINDOW - 3


def test_a_window_doubles_with_each_round_of_acknowledgements_up_to_its_maximum() -> None:
    window = WINDOW
    for size in (10, 20, 40, 80, 160, 256):
        for _ in range(room(window)):
            window = window.after_success()
        assert room(window) == size


def test_a_window_of_calls_that_go_on_does_not_grow() -> None:
    assert room(WINDOW, in_flight=int(FIRST_WINDOW)) == 0
    assert WINDOW.opens_at(7.0) == 7.0


def test_a_failed_push_stops_the_whole_subscription_and_halves_its_window() -> None:
    window = PushWindow(max_size=256, size=40).after_failure(429, started_at=99, now=100)
    assert room(window, now=100 + MIN_PAUSE_SECONDS / 2) == 0
    assert window.opens_at(100) == 100 + MIN_PAUSE_SECONDS
    assert room(window, now=window.opens_at(100)) == 20


def test_several_pushes_that_were_open_together_and_failed_count_once() -> None:
    once = PushWindow(max_size=256, size=40).after_failure(500, started_at=99, now=100)
    assert once.after_failure(500, started_at=99.5, now=101) == once


def test_pauses_double_while_pushes_fail_and_end_soon_after_they_succeed() -> None:
    window = failing(WINDOW, 3)
    assert isinstance(window, PushWindow) and window.pause == 4 * MIN_PAUSE_SECONDS
    window = failing(WINDOW, 50)
    assert isinstance(window, PushWindow) and window.pause == MAX_PAUSE_SECONDS and window.size == MIN_WINDOW
    for _ in range(11):
        window = window.after_success()
    assert window.pause == 0 and room(window) == MIN_WINDOW + 11


def test_a_queue_dispatches_its_rate_and_a_burst() -> None:
    rate = DispatchRate(max_rate=10, max_burst=5, max_in_flight=1000)
    assert room(rate, now=1000) == 5
    rate = rate.after_start(5, now=1000)
    assert room(rate, now=1000) == 0 and rate.opens_at(1000) == pytest.approx(1000.1)
    assert room(rate, now=1000.31) == 3 and room(rate, now=2000) == 5


def test_a_queue_dispatches_no_more_at_once_than_it_may() -> None:
    rate = DispatchRate(max_rate=500, max_burst=100, max_in_flight=7)
    assert room(rate) == 7 and room(rate, in_flight=6) == 1 and room(rate, in_flight=9) == 0


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_target_halves_the_rate(status: int) -> None:
    lowered = RATE.after_failure(status, started_at=1, now=2)
    assert lowered.rate == 250 and room(lowered, now=2) == 0


def test_other_failures_lower_the_rate_less() -> None:
    assert RATE.after_failure(500, started_at=1, now=2).rate == 450


def test_dispatches_that_were_open_together_and_failed_lower_the_rate_once() -> None:
    lowered = RATE.after_failure(429, started_at=1, now=2)
    assert lowered.after_failure(503, started_at=1.5, now=3) == lowered


def test_the_rate_of_a_queue_recovers_with_successes_and_never_exceeds_its_limit() -> None:
    lowered = failing(RATE, 50, status=429)
    assert isinstance(lowered, DispatchRate) and lowered.rate == MIN_RATE
    seconds, now = 0.0, 1e6
    while lowered.rate < RATE.max_rate:
        opens_at = lowered.opens_at(now)
        seconds, now = seconds + opens_at - now, opens_at
        lowered = lowered.after_start(1, now=now).after_success()
    assert lowered.rate == RATE.max_rate and seconds < 15
    assert lowered.after_success() == lowered


def test_a_slow_queue_is_not_made_faster_by_its_failures() -> None:
    slow = DispatchRate(max_rate=0.1, max_burst=1, max_in_flight=1)
    assert slow.after_failure(429, started_at=1, now=2).rate == 0.1
