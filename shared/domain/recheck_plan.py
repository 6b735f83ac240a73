"""The plan of re-checks of a provider job: a fixed row of growing offsets, in seconds after the job was sent.

The plan depends only on the time when the job was sent. So a re-check, its duplicate and the sweeper all compute the
same next offset and ask for the task of the same name, and the scheduler creates it once.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from math import ceil

FIRST_SECONDS = 1
MAX_GAP_SECONDS = 60
CLOCK_SKEW = timedelta(seconds=0.5)
"""How much earlier than planned, by our clock, a task may arrive. The next offset is then the one after it: the name of
the task that has just arrived is taken, so scheduling the same offset again would have no effect."""


def offsets() -> Iterator[int]:
    """Yields 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, … seconds without end.

    Each gap is a quarter of the offset before it, at least one second and at most MAX_GAP_SECONDS.
    """
    offset = FIRST_SECONDS
    while True:
        yield offset
        offset += min(max(offset // 4, 1), MAX_GAP_SECONDS)


def next_offset(waited: timedelta, *, eta: timedelta | None = None) -> int:
    """Returns the offset of the next re-check in whole seconds, after `waited` since the job was sent.

    `eta` is the LLM's own estimate of the time left. A shorter one brings the re-check forward, but by half the planned
    gap at most, because a wrong estimate at each check would otherwise cause many of them.
    """
    seconds = (waited + CLOCK_SKEW).total_seconds()
    planned = next(offset for offset in offsets() if offset > seconds)
    if eta is None:
        return planned
    earliest = int(seconds) + max((planned - int(seconds)) // 2, 1)
    return min(planned, max(ceil((waited + eta).total_seconds()), earliest))


def checks_planned_until(waited: timedelta) -> int:
    """Returns the number of re-checks that the plan has up to `waited` since the job was sent."""
    seconds = waited.total_seconds()
    return sum(1 for _ in takewhile(lambda offset: offset <= seconds, offsets()))


def recheck_time(sent_at: datetime, offset: int) -> datetime:
    """Returns the time that is `offset` seconds after `sent_at`."""
    return sent_at + timedelta(seconds=offset)
