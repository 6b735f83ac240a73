"""When calls to a failing server pass: the breaker's pauses, on a clock of the test's own."""

from shared.adapters.llm.breaker import FIRST_PAUSE_SECONDS, MAX_FAILURES, MAX_PAUSE_SECONDS, CircuitBreaker


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def opened() -> tuple[CircuitBreaker, Stopwatch]:
    watch = Stopwatch()
    breaker = CircuitBreaker(watch)
    for _ in range(MAX_FAILURES):
        assert breaker.allows_call()
        breaker.record_failure()
    return breaker, watch


def test_the_breaker_stays_closed_with_one_failure_fewer() -> None:
    breaker = CircuitBreaker(Stopwatch())
    for _ in range(MAX_FAILURES - 1):
        breaker.record_failure()
    assert breaker.allows_call() and breaker.remaining_seconds == 0


def test_failures_with_a_success_between_them_leave_it_closed() -> None:
    breaker = CircuitBreaker(Stopwatch())
    for _ in range(3 * MAX_FAILURES):
        breaker.record_failure()
        breaker.record_success()
    assert breaker.allows_call()


def test_open_it_lets_one_call_pass_after_each_pause() -> None:
    breaker, watch = opened()
    assert not breaker.allows_call() and breaker.remaining_seconds == FIRST_PAUSE_SECONDS
    watch.seconds += FIRST_PAUSE_SECONDS
    assert [breaker.allows_call() for _ in range(3)] == [True, False, False]


def test_its_pauses_double_up_to_a_minute() -> None:
    breaker, watch = opened()
    pauses = []
    for _ in range(8):
        pauses.append(breaker.remaining_seconds)
        watch.seconds += pauses[-1]
        assert breaker.allows_call()
        breaker.record_failure()
    assert pauses == [5, 10, 20, 40, 60, 60, 60, 60] and pauses[-1] == MAX_PAUSE_SECONDS


def test_a_probe_that_never_answers_is_followed_by_another() -> None:
    breaker, watch = opened()
    for _ in range(3):
        watch.seconds += MAX_PAUSE_SECONDS
        assert breaker.allows_call()


def test_one_success_closes_the_breaker() -> None:
    breaker, watch = opened()
    watch.seconds += FIRST_PAUSE_SECONDS
    assert breaker.allows_call()
    breaker.record_success()
    assert [breaker.allows_call() for _ in range(3)] == [True] * 3
