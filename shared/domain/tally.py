"""Counts runs that have ended, with the codes of their failures and a histogram of how long the completed ones took.

The histogram has ten buckets for each factor of ten, so a percentile is off by an eighth at most. Counts of buckets can
be added in any order, and a store adds to them without reading them.
"""

from collections.abc import Iterable, Mapping
from math import ceil, log10
from typing import TypeVar

from msgspec import Struct, field

from shared.domain.budget import cost
from shared.domain.run import Run
from shared.domain.status import Status

Key = TypeVar("Key")

BUCKETS_OF_TEN = 10
"""How many buckets a factor of ten has."""
FIRST_EDGE_SECONDS = 0.1
LAST_BUCKET = 60
"""It begins at 80,000 seconds, which is about 22 hours."""


class Tally(Struct, frozen=True, kw_only=True):
    """`cost` is in nano-USD; `failures` is {error code: runs}; `seconds` is {bucket: completed runs}.

    A completed run lasts from its acceptance to its end, as its user sees it.
    """

    runs: int = 0
    failed: int = 0
    cost: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[int, int] = field(default_factory=dict)

    def percentile(self, share: float) -> float | None:
        """Returns the duration in seconds that this share of the completed runs did not exceed; None without any."""
        count = sum(self.seconds.values())
        rank = max(ceil(share * count), 1)
        for bucket in sorted(self.seconds):
            if rank <= self.seconds[bucket]:
                return _middle_of(bucket, share=(rank - 0.5) / self.seconds[bucket])
            rank -= self.seconds[bucket]
        return None


def tally_of(run: Run) -> Tally:
    """Returns the tally of one run that has ended."""
    is_failed = run.status is Status.FAILED
    seconds = (run.completed_at - run.created_at).total_seconds() if run.completed_at else 0.0
    return Tally(
        runs=1,
        failed=int(is_failed),
        cost=cost(run),
        failures={run.error.code: 1} if is_failed and run.error else {},
        seconds={bucket_of(seconds): 1} if run.status is Status.COMPLETED else {},
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum of the tallies."""
    runs = failed = amount = 0
    failures: dict[str, int] = {}
    seconds: dict[int, int] = {}
    for one in tallies:
        runs, failed, amount = runs + one.runs, failed + one.failed, amount + one.cost
        _add(failures, one.failures)
        _add(seconds, one.seconds)
    return Tally(runs=runs, failed=failed, cost=amount, failures=failures, seconds=seconds)


def bucket_of(seconds: float) -> int:
    """Returns the bucket of a duration. Bucket 0 ends at FIRST_EDGE_SECONDS."""
    if seconds <= FIRST_EDGE_SECONDS:
        return 0
    return min(ceil(round(log10(seconds / FIRST_EDGE_SECONDS) * BUCKETS_OF_TEN, 9)), LAST_BUCKET)


def _middle_of(bucket: int, *, share: float) -> float:
    """Returns a duration inside the bucket; `share` is 0 at its beginning and 1 at its end."""
    return float(FIRST_EDGE_SECONDS * 10.0 ** ((bucket - 1 + share) / BUCKETS_OF_TEN))


def _add(sums: dict[Key, int], added: Mapping[Key, int]) -> None:
    for name, count in added.items():
        sums[name] = sums.get(name, 0) + count
