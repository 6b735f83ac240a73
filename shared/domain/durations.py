"""Sketches how long the provider jobs of one model or deployment take: a histogram whose buckets grow by a tenth.

Weights are whole thousandths of a job, so that the order in which sketches are merged makes no difference. What is new
counts more than what is old: a sketch that is full fades as it takes in more (see Durations.updated).

A worker never sees when a job ends. It only sees that the job had not ended at one check and had ended at the next, so
a duration is spread over the buckets in between.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, zip_longest
from math import exp, log

from msgspec import Struct

UNIT = 1000
"""The weight of one job."""
BUCKETS = 128
"""The last one ends after 25 hours."""
EDGES = (0.0, *(0.5 * 1.1**number for number in range(BUCKETS)))
"""Bucket n holds the durations from EDGES[n] to EDGES[n + 1], in seconds."""
MAX_JOBS = 200
"""How many jobs a store remembers of a kind. When it is full, each new one takes a 200th from all others."""
PRIOR_JOBS = 0.3
"""For how many jobs the prior counts: what is assumed before anything is known, and in part for good."""
PRIOR_MEDIAN, PRIOR_SPREAD = 30.0, 1.8
"""The prior is log-normal: two thirds of all jobs take from 5 s to 3 minutes."""
SPREAD_EVENLY = 0.2
"""The share of a duration that is spread evenly over its interval; the rest follows the durations known before.

Without it, jobs that become faster would always be taken to have ended just before they were found.
"""
SMOOTHED_JOBS, MAX_PASSES = 30, 16
"""The fewer jobs are known, the more the histogram is smoothed: SMOOTHED_JOBS / jobs passes, at least one."""


class Durations(Struct, frozen=True):
    """A sketch of durations; it is empty when nothing is known."""

    weights: tuple[int, ...] = ()
    """The weight of each bucket, from the first one on, without zeros at the end."""

    @property
    def jobs(self) -> float:
        """Returns how many jobs the sketch knows of, old ones counting less."""
        return sum(self.weights) / UNIT

    def merged(self, other: "Durations") -> "Durations":
        """Returns the sketch of the jobs of both."""
        pairs = zip_longest(self.weights, other.weights, fillvalue=0)
        return _trimmed(one + another for one, another in pairs)

    def faded(self, jobs: int) -> "Durations":
        """Returns the sketch with all weights reduced alike, to at most so many jobs."""
        total = sum(self.weights)
        if total <= jobs * UNIT:
            return self
        return _trimmed(weight * jobs * UNIT // total for weight in self.weights)

    def updated(self, new: "Durations", *, most: int) -> "Durations":
        """Returns the sketch with new jobs. It forgets old ones, so that it never has more than `most` jobs."""
        room = max(most - round(new.jobs + 0.5), 0)
        return self.faded(room).merged(new).faded(most)

    def shares(self) -> list[float]:
        """Returns the probability that a job ends in each bucket: what is known, smoothed, and the prior."""
        smoothed = _smoothed(self.weights, self.jobs)
        total = self.jobs + PRIOR_JOBS
        return [(known / UNIT + PRIOR_JOBS * prior) / total for known, prior in zip(smoothed, _prior(), strict=True)]

    def to_text(self) -> str:
        """Returns a short text: the number of the first weight that is not 0, and the weights."""
        first = next((number for number, weight in enumerate(self.weights) if weight), 0)
        return f"{first}:{','.join(str(weight) for weight in self.weights[first:])}"

    @staticmethod
    def from_text(text: str) -> "Durations":
        """Returns the sketch of a text of `to_text`, and an empty one for any other text, as of a later release."""
        first, _, weights = text.partition(":")
        numbers = [first, *filter(None, weights.split(","))]
        if not all(number.isascii() and number.isdigit() for number in numbers):
            return Durations()
        values = [*[0] * min(int(first), BUCKETS), *map(int, numbers[1:])]
        return _trimmed(values) if len(values) <= BUCKETS else Durations()


def one_duration(after: float, until: float, *, known: Durations) -> Durations:
    """Returns the sketch of one job that ended later than `after` and not later than `until`, in seconds."""
    until = min(max(until, EDGES[1]), EDGES[-1])
    after = min(max(after, 0.0), until * 0.99)
    parts = [max(min(until, end) - max(after, begin), 0.0) for begin, end in zip(EDGES, EDGES[1:], strict=False)]
    expected = [
        share * part / (end - begin)
        for share, part, begin, end in zip(known.shares(), parts, EDGES, EDGES[1:], strict=False)
    ]
    evenly, likely = sum(parts), sum(expected)
    shares = [
        SPREAD_EVENLY * part / evenly + (1 - SPREAD_EVENLY) * (odds / likely if likely else part / evenly)
        for part, odds in zip(parts, expected, strict=True)
    ]
    ends = [round(total * UNIT) for total in accumulate(shares, initial=0.0)]
    return _trimmed(end - begin for begin, end in zip(ends, ends[1:], strict=False))


def _trimmed(weights: Iterable[int]) -> Durations:
    values = list(weights)
    while values and values[-1] == 0:
        values.pop()
    return Durations(tuple(values))


def _smoothed(weights: Sequence[int], jobs: float) -> list[float]:
    """Returns BUCKETS weights; each pass gives half of a weight to the buckets beside it."""
    smoothed = [*map(float, weights), *[0.0] * (BUCKETS - len(weights))]
    passes = min(max(round(SMOOTHED_JOBS / jobs), 1), MAX_PASSES) if jobs else 0
    for _ in range(passes):
        left, right = [smoothed[0], *smoothed[:-1]], [*smoothed[1:], smoothed[-1]]
        smoothed = [(a + 2 * b + c) / 4 for a, b, c in zip(left, smoothed, right, strict=True)]
    return smoothed


@cache
def _prior() -> tuple[float, ...]:
    """Returns the prior's probability of each bucket."""
    distances = [log(end / PRIOR_MEDIAN) / PRIOR_SPREAD for end in EDGES[1:]]
    odds = [exp(-(distance**2) / 2) for distance in distances]
    return tuple(one / sum(odds) for one in odds)
