"""When to look at a provider job again: a fixed, growing row of seconds after it was sent.

The row depends on nothing but the time the job was sent, so anybody can work out which re-check comes next: the
re-check before it, a duplicate of that one, or the sweeper. They all ask for the same named task, and only one is made.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from math import ceil

FIRST_SECONDS = 1
MAX_GAP_SECONDS = 60
CLOCK_SKEW = timedelta(seconds=0.5)
"""A task may come this much early by our clock; it must not plan itself again, for its name is taken."""


def offsets() -> Iterator[int]:
    """1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, … seconds: a quarter of the time waited so far, one minute at most."""
    offset = FIRST_SECONDS
    while True:
        yield offset
        offset += min(max(offset // 4, 1), MAX_GAP_SECONDS)


def next_offset(waited: timedelta, *, eta: timedelta | None = None) -> int:
    """Whole seconds after sending of the next re-check.

    Sooner than planned if the LLM expects to finish sooner, but never before half the gap: it may be wrong each time.
    """
    seconds = (waited + CLOCK_SKEW).total_seconds()
    planned = next(offset for offset in offsets() if offset > seconds)
    if eta is None:
        return planned
    soonest = int(seconds) + max((planned - int(seconds)) // 2, 1)
    return min(planned, max(ceil((waited + eta).total_seconds()), soonest))


def checks_planned_until(waited: timedelta) -> int:
    """How many re-checks the plan holds in the time waited so far."""
    seconds = waited.total_seconds()
    return sum(1 for _ in takewhile(lambda offset: offset <= seconds, offsets()))


def moment(sent_at: datetime, offset: int) -> datetime:
    return sent_at + timedelta(seconds=offset)
