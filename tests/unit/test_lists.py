"""A list tells how many runs there are up to a bound, beyond which nobody counts."""

from collections.abc import Sequence

import pytest

from shared.adapters.clock import SystemClock
from shared.domain.status import Kind
from shared.ports import RunFilter, RunPage, RunPosition
from shared.usecases.read import MAX_COUNTED, ReadRuns

JOBS = RunFilter(user_id="demo", kinds=(Kind.JOB,))


class FullStore:
    """Has this many runs, and keeps how far each count was to go."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.counted: list[int] = []

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: RunPosition | None = None
    ) -> RunPage:
        positions: Sequence[RunPosition] = []
        return RunPage(runs=[], positions=positions)

    async def count_runs(self, wanted: RunFilter, *, at_most: int) -> int:
        self.counted.append(at_most)
        return min(self.size, at_most)


@pytest.mark.parametrize(
    ("size", "total", "is_at_least"),
    [(0, 0, False), (9_999, 9_999, False), (10_000, 10_000, True), (1_000_000, 10_000, True)],
)
async def test_a_total_ends_at_ten_thousand_and_says_so(size: int, total: int, is_at_least: bool) -> None:
    store = FullStore(size)
    page = await ReadRuns(store=store, clock=SystemClock()).page(JOBS, limit=20, offset=0, after=None)  # type: ignore[arg-type]
    assert (page.total, page.total_is_at_least, store.counted) == (total, is_at_least, [MAX_COUNTED])
