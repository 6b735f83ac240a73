"""The plan of re-checks of a provider job: a row of growing offsets, in whole seconds after the job was sent.

A plan is chosen once, when the job is sent, from what is known of durations then (best_plan.py), and stands on the run.
So a re-check, its duplicate and the sweeper all compute the same next offset and ask for the task of the same name, and
the scheduler creates it once, whatever each of them knows of durations.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain, pairwise, takewhile
from math import ceil

from msgspec import Struct

from shared.domain.status import Service

MAX_GAP_SECONDS = {Service.STANDARD: 60, Service.BATCH: 600}
CLOCK_SKEW = timedelta(seconds=0.5)
"""How much earlier than planned, by our clock, a task may arrive. The next offset is then the one after it: the name of
the task that has just arrived is taken, so scheduling the same offset again would have no effect."""


class Recheck(Struct, frozen=True, kw_only=True):
    """The content of a re-check task: ids and counts, nothing that a user wrote."""

    run_id: str
    attempt: int
    sequence: str
    """Distinguishes the re-checks of one attempt; the same sequence is the same task."""
    checks: int = 0
    """How often the LLM was asked about this attempt so far."""


class RecheckPlan(Struct, frozen=True, kw_only=True):
    """The chosen offsets of a run, and how the row goes on behind them."""

    chosen: tuple[int, ...] = ()
    """Rising offsets. Without any, as on runs of an earlier release, the row is 1, 2, 3, … 8, 10, 12, 15, 18, …"""
    service: Service = Service.STANDARD

    def offsets(self) -> Iterator[int]:
        """Yields the offsets without end.

        Behind the chosen ones, each gap is a quarter of the offset before it, or the gap before it if that is longer,
        and at most MAX_GAP_SECONDS of the service.
        """
        yield from self.chosen
        before, offset = (0, *self.chosen)[-2:] if self.chosen else (0, 0)
        gap = offset - before
        while True:
            gap = min(max(offset // 4, gap, 1), MAX_GAP_SECONDS[self.service])
            offset += gap
            yield offset

    def next_offset(self, waited: timedelta, *, eta: timedelta | None = None) -> int:
        """Returns the offset of the next re-check, after `waited` since the job was sent.

        `eta` is the LLM's own estimate of the time left. An estimate may always be wrong, so it moves a check within
        bounds: forward into the second half of its gap, once in a gap, and back to a later offset of the plan, by at
        most a quarter of the time waited, which is the gap of a plan that knows nothing.

        The offsets to which a check may move follow from the plan alone. So chains of re-checks that look at slightly
        different moments, with slightly different estimates, mostly meet at one task and are one chain again.
        """
        seconds = (waited + CLOCK_SKEW).total_seconds()
        row = self.offsets()
        gap = next((before, after) for before, after in pairwise(chain([0], row)) if after > seconds)
        planned = gap[1]
        if eta is None:
            return planned
        ends = ceil((waited + eta).total_seconds())
        if ends < planned:
            return next((part for part in _parts(*gap) if part >= ends), planned) if seconds < sum(gap) / 2 else planned
        latest = min(ends, int(seconds) + min(int(seconds) // 4, MAX_GAP_SECONDS[self.service]))
        return max(takewhile(lambda offset: offset <= latest, row), default=planned)

    def checks_until(self, waited: timedelta) -> int:
        """Returns the number of re-checks that the plan has up to `waited` since the job was sent."""
        seconds = waited.total_seconds()
        return sum(1 for _ in takewhile(lambda offset: offset <= seconds, self.offsets()))

    def last_check_before(self, waited: timedelta, *, checks: int) -> int:
        """Returns an offset at which the job had not ended yet, when a check after `waited` was number `checks`.

        When re-checks were lost there were fewer checks than planned, and the latest one is at least that number's.
        """
        made = min(checks, self.checks_until(waited + CLOCK_SKEW)) - 1
        return next(offset for number, offset in enumerate(self.offsets()) if number == made - 1) if made > 0 else 0


def _parts(before: int, after: int) -> list[int]:
    """Returns the middle of a gap and what divides its second half in four, in whole seconds."""
    return [before + ceil((after - before) * eighths / 8) for eighths in range(4, 8)]


def recheck_time(sent_at: datetime, offset: int) -> datetime:
    """Returns the time that is `offset` seconds after `sent_at`."""
    return sent_at + timedelta(seconds=offset)
