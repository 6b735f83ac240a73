"""Decides how fast the local broker delivers, as Google's services do: each subscription and each queue has a pace.

A pace is a value; each method that changes something returns a new one. Times are in epoch seconds.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol, Self

TOO_MANY_REQUESTS = 429
SERVICE_UNAVAILABLE = 503

FIRST_WINDOW = 5.0
MIN_WINDOW = 1.0
MIN_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 60.0

MAX_BACKOFF_SECONDS = 30.0
MIN_RATE = 0.2
"""Dispatches per second of a queue whose target refuses everything."""
OVERLOADED_FACTOR = 0.5
FAILED_FACTOR = 0.9
RATE_PER_SUCCESS = 1.0
"""How much each success adds to the dispatches per second."""
ROUNDING = 1e-5
"""Times of this size in seconds have an error of a microsecond, so that a dispatch may be counted as 0.999999."""


class Pace(Protocol):
    """Says how many deliveries may start now. One failure of several deliveries at once counts once."""

    def room(self, *, in_flight: int, now: float) -> int:
        """Returns how many deliveries may start now, besides the `in_flight` ones."""

    def opens_at(self, now: float) -> float:
        """Returns when a delivery may start, unless too many are in flight; `now` when it may start at once."""

    def after_start(self, count: int, *, now: float) -> Self: ...

    def after_success(self) -> Self: ...

    def after_failure(self, status: int, *, started_at: float, now: float) -> Self: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PushWindow:
    """The maximum number of open pushes of one subscription.

    It starts small and grows with each acknowledgement, so it doubles with each round of them. A failure halves it and
    stops the whole subscription for a pause that doubles while failures go on, from 100 ms to 60 s.

    https://cloud.google.com/pubsub/docs/push#delivery_rate, https://cloud.google.com/pubsub/docs/push#push_backoff
    """

    max_size: float
    size: float = FIRST_WINDOW
    pause: float = 0.0
    """Seconds of the last pause; each acknowledgement halves it."""
    resumes_at: float = 0.0
    shrunk_at: float = -math.inf

    def room(self, *, in_flight: int, now: float) -> int:
        return 0 if now < self.resumes_at else max(int(self.size) - in_flight, 0)

    def opens_at(self, now: float) -> float:
        return max(self.resumes_at, now)

    def after_start(self, count: int, *, now: float) -> "PushWindow":
        return self

    def after_success(self) -> "PushWindow":
        if self.size == self.max_size and self.pause == 0:
            return self
        pause = self.pause / 2 if self.pause > MIN_PAUSE_SECONDS else 0.0
        return replace(self, size=min(self.size + 1, self.max_size), pause=pause)

    def after_failure(self, status: int, *, started_at: float, now: float) -> "PushWindow":
        if started_at <= self.shrunk_at:
            return self
        pause = min(max(self.pause * 2, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
        return replace(self, size=max(self.size / 2, MIN_WINDOW), pause=pause, resumes_at=now + pause, shrunk_at=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRate:
    """Limits how many tasks a queue dispatches in a second, and how many at once.

    429 and 503 halve the rate, and any other failure lowers it a little. Successes raise it again up to the queue's own
    limit. Unused dispatches are saved up to `max_burst`.

    https://cloud.google.com/tasks/docs/common-pitfalls#backoff_errors_and_enforced_rates
    """

    max_rate: float
    max_burst: float
    max_in_flight: int
    rate: float = math.inf
    """Dispatches per second now; never more than `max_rate`."""
    saved: float = math.inf
    """Dispatches that were allowed until `counted_at`; never more than `max_burst`."""
    counted_at: float = 0.0
    lowered_at: float = -math.inf

    def room(self, *, in_flight: int, now: float) -> int:
        return max(min(int(self._allowed(now) + ROUNDING), self.max_in_flight - in_flight), 0)

    def opens_at(self, now: float) -> float:
        return now + max(1 - self._allowed(now), 0) / self._present_rate

    def after_start(self, count: int, *, now: float) -> "DispatchRate":
        return replace(self, saved=self._allowed(now) - count, counted_at=now)

    def after_success(self) -> "DispatchRate":
        if self.rate >= self.max_rate:
            return self
        return replace(self, rate=min(self.rate + RATE_PER_SUCCESS, self.max_rate))

    def after_failure(self, status: int, *, started_at: float, now: float) -> "DispatchRate":
        if started_at <= self.lowered_at:
            return self
        factor = OVERLOADED_FACTOR if status in (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE) else FAILED_FACTOR
        rate = max(self._present_rate * factor, min(MIN_RATE, self.max_rate))
        return replace(self, rate=rate, saved=0.0, counted_at=now, lowered_at=now)

    @property
    def _present_rate(self) -> float:
        return min(self.rate, self.max_rate)

    def _allowed(self, now: float) -> float:
        passed = max(now - self.counted_at, 0)
        return min(self.saved + passed * self._present_rate, self.max_burst)


def backoff(deliveries: int) -> float:
    """Returns the seconds to wait after this many deliveries: 1, 2, 4, … at most MAX_BACKOFF_SECONDS."""
    return min(2.0 ** (deliveries - 1), MAX_BACKOFF_SECONDS)
