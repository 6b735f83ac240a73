"""Stops the calls to a server that keeps failing, and asks it once in a while whether it is back."""

import time
from collections.abc import Callable

MAX_FAILURES = 5
"""After this many failures in a row the breaker opens."""
FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 60.0


class CircuitBreaker:
    """Closed, it lets every call pass. Open, it lets one call pass after each pause; one success closes it.

    It belongs to one event loop. `now` returns seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._open_until: float | None = None

    @property
    def remaining_seconds(self) -> float:
        """Returns how long it takes until a call may pass; 0 when one may pass now."""
        return 0.0 if self._open_until is None else max(self._open_until - self._now(), 0.0)

    @property
    def failures(self) -> int:
        """Returns how many calls in a row have failed."""
        return self._failures

    @property
    def is_open(self) -> bool:
        return self._open_until is not None

    def allows_call(self) -> bool:
        """Returns whether this call may pass. Of an open breaker the answer True makes the next call wait a pause."""
        if self.remaining_seconds > 0:
            return False
        if self._open_until is not None:
            self._open_until = self._now() + self._pause()
        return True

    def record_success(self) -> None:
        self._failures = 0
        self._open_until = None

    def record_failure(self) -> bool:
        """Returns True when the breaker is open now."""
        self._failures += 1
        if self._failures < MAX_FAILURES:
            return False
        self._open_until = self._now() + self._pause()
        return True

    def _pause(self) -> float:
        doublings = min(max(self._failures - MAX_FAILURES, 0), 10)
        return min(FIRST_PAUSE_SECONDS * float(2**doublings), MAX_PAUSE_SECONDS)
