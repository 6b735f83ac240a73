"""Chooses the offsets of a run's re-checks: those with the least expected lag and the fewest expected checks.

The lag is the time from the end of a job to the check that finds it. A check has a price in seconds of lag. It grows
with the square root of the time waited, since a second counts less after an hour than after a minute. The choice is a
dynamic program over a grid of offsets: a check at an offset costs its price if the job has not ended before, and the
lag of the jobs that have ended since the check before it.
"""

from itertools import accumulate

from msgspec import Struct

from shared.domain.durations import EDGES, Durations
from shared.domain.recheck_plan import MAX_GAP_SECONDS
from shared.domain.status import Service

FIRST_PLAN = (1, 3, 7, 13, 23, 40, 68, 116, 176)
"""The offsets of a job of whose kind nothing is known."""
MAX_OFFSETS = 32
"""Bounds what stands on the run. Behind the last offset the row goes on by itself."""
PRICES = {Service.STANDARD: 0.56, Service.BATCH: 10.0}
"""What a check after PRICED_SECONDS costs, in seconds of lag: up to six checks are spent for three seconds."""
PRICED_SECONDS = 70.0
UNSURE_JOBS = 40
"""With fewer jobs a check costs up to twice as much, since it may well stand at a wrong place."""
GRID_GROWTH = 1.04
"""The grid has each second up to 25 s, and then offsets that grow by 4 percent."""
UNPLANNED_SHARE = 0.01
"""The plan ends behind the offset at which all jobs but this share have ended."""
UNLIKELY = 0.1
"""A gap may be longer than MAX_GAP_SECONDS where a job that is at work then ends within it with less probability."""
UNPLANNED_CHECKS = 20
"""How many checks a job that outlasts the plan is expected to take."""


class Grid(Struct, frozen=True, kw_only=True):
    """Possible offsets, with prefix sums of the probability of an end and of its mean time."""

    offsets: list[int]
    ended: list[float]
    """The probability that the job has ended by the offset."""
    moments: list[float]
    """The sum of probability × time over the ends by the offset."""
    prices: list[float]

    def lag(self, before: int, at: int) -> float:
        """Returns the expected lag of the jobs that end between two offsets of the grid, given by their numbers."""
        ended = self.ended[at] - self.ended[before]
        return self.offsets[at] * ended - (self.moments[at] - self.moments[before])


def best_plan(known: Durations, service: Service = Service.STANDARD) -> tuple[int, ...]:
    """Returns the rising offsets for a job of which `known` tells how long such jobs take."""
    if not known.weights:
        return FIRST_PLAN
    grid = _grid(known, service)
    following = _following(grid, MAX_GAP_SECONDS[service])
    chosen: list[int] = []
    number = 0
    while number < len(grid.offsets) - 1 and len(chosen) < MAX_OFFSETS:
        number = following[number]
        chosen.append(grid.offsets[number])
    return tuple(chosen)


def _grid(known: Durations, service: Service) -> Grid:
    offsets = [0]
    last = _last_offset(known)
    while offsets[-1] < last:
        offsets.append(max(offsets[-1] + 1, round(offsets[-1] * GRID_GROWTH)))
    ended = _ended(known, offsets)
    middles = ((one + another) / 2 for one, another in zip(offsets, offsets[1:], strict=False))
    shares = (one - another for one, another in zip(ended[1:], ended, strict=False))
    moments = accumulate((share * middle for share, middle in zip(shares, middles, strict=True)), initial=0.0)
    price = PRICES[service] * (1 + max(0.0, 1 - known.jobs / UNSURE_JOBS))
    prices = [price * (offset / PRICED_SECONDS) ** 0.5 for offset in offsets]
    return Grid(offsets=offsets, ended=ended, moments=list(moments), prices=prices)


def _last_offset(known: Durations) -> float:
    """Returns the seconds by which nearly all known jobs have ended."""
    total = sum(known.weights)
    sums = accumulate(known.weights)
    return next(end for end, weight in zip(EDGES[1:], sums, strict=False) if weight >= (1 - UNPLANNED_SHARE) * total)


def _ended(known: Durations, offsets: list[int]) -> list[float]:
    """Returns the probability that a job has ended, for each offset."""
    shares = known.shares()
    by_edge = list(accumulate(shares, initial=0.0))
    found, bucket = [], 0
    for offset in offsets:
        while EDGES[bucket + 1] < offset and bucket < len(shares) - 1:
            bucket += 1
        part = (offset - EDGES[bucket]) / (EDGES[bucket + 1] - EDGES[bucket])
        found.append(by_edge[bucket] + shares[bucket] * min(part, 1.0))
    return found


def _following(grid: Grid, max_gap: int) -> list[int]:
    """Returns, for each offset of the grid at which a check finds the job at work, the number of the best next one."""
    last = len(grid.offsets) - 1
    costs = [0.0] * last + [(1 - grid.ended[last]) * UNPLANNED_CHECKS * grid.prices[last]]
    following = [0] * (last + 1)
    for before in range(last - 1, -1, -1):
        at_work = 1 - grid.ended[before]
        least = float("inf")
        for at in range(before + 1, last + 1):
            is_long = before > 0 and grid.offsets[at] - grid.offsets[before] > max_gap
            if is_long and at > before + 1 and grid.ended[at] - grid.ended[before] > UNLIKELY * at_work:
                break
            cost = grid.prices[at] * at_work + grid.lag(before, at) + costs[at]
            if cost < least:
                least, following[before] = cost, at
        costs[before] = least
    return following
