"""Defines how runs are stored, listed and watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from shared.domain.limits import NO_LIMITS, Limits

if TYPE_CHECKING:
    from shared.domain.channel import Channel
    from shared.domain.idempotency import IdempotencyRecord
    from shared.domain.run import Run
    from shared.domain.status import Kind, Status
    from shared.domain.tally import Tally
    from shared.domain.usage_sums import UsageKey, UsageSum


class RunFilter(Struct, frozen=True, kw_only=True):
    """Selects runs of one user; a field that is None selects all values."""

    user_id: str
    kinds: tuple[Kind, ...]
    status: Status | None = None
    job_type: str | None = None
    question_id: str | None = None


class RunPosition(Struct, frozen=True, kw_only=True):
    """A place in a list that is ordered by a time (created_at, due_at or updated_at) and the run's id."""

    at: datetime
    run_id: str


class RunPage(Struct, frozen=True, kw_only=True):
    """Holds what a store found. A document that cannot be read, as of a later release, has a position and no run."""

    runs: Sequence[Run]
    positions: Sequence[RunPosition]
    """One for each document found, in the order of the list; the next page begins after the last one."""

    @property
    def unreadable(self) -> list[str]:
        """Returns the ids of the documents that cannot be read."""
        readable = {run.id for run in self.runs}
        return [position.run_id for position in self.positions if position.run_id not in readable]


class RunStore(Protocol):
    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        """Stores the run, its idempotency record and the parts of a large input in one atomic commit.

        Returns None when the run is stored. Calling it again with the same run, after an answer was lost, changes
        nothing. Returns the record of the other run, and stores nothing, when the key belongs to a run that has not
        failed and has not expired.

        The same commit counts the run within `limits`: of any number of concurrent calls no more runs are stored than
        the limits allow. Raises TooManyRuns or BudgetExhausted, and stores nothing; a store may count only runs that it
        accepted since a limit was set or lowered. Raises IdempotencyKeyBusy when too many calls use one key at once,
        and StoreUnavailable when it is unknown whether the run is stored.
        """

    async def get(self, run_id: str, *, with_result: bool = True, or_last_saved: bool = False) -> Run:
        """Returns the run. Its input is empty when it is stored in parts (see load_input).

        With `with_result` False, a result that is stored in parts is left out (`Run.lacks_result`). With
        `or_last_saved`, a store may a few times return the run as this process has last saved or read it: when another
        process has saved or deleted it since, a save of what follows raises StaleRun. Raises RunNotFound.
        """

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        """Returns the input {text} or the job's input_data, from the run or from its parts."""

    async def save(self, run: Run) -> Run:
        """Replaces the stored run if its revision is still `run.revision`, and returns the run with its new revision.

        The commit that ends a run also adds it to the sums of usage, once, and turns its reservation into its cost.
        Raises StaleRun when another writer has saved the run meanwhile, and ResultTooLarge when the run is too large to
        be stored. Then nothing has changed.
        """

    async def erase(self, run: Run) -> Run:
        """Saves a run without its content as `save` does, and deletes all parts of the content in the same commit."""

    async def forget(self, run: Run) -> None:
        """Deletes the run with all its parts, whatever was saved since it was read. Nothing happens if it is gone."""

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        """Deletes at most `limit` runs whose `expires_at` has passed, and sums of usage older than RETENTION.

        Returns how many runs it deleted; 0 in a store that deletes them by itself.
        """

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: RunPosition | None = None
    ) -> RunPage:
        """Returns the newest runs first, from behind the position `after` on, whatever was inserted meanwhile.
        Results that are stored in parts are left out (`Run.lacks_result`), so that the size of a page is bounded.
        """

    async def count_runs(self, wanted: RunFilter, *, at_most: int) -> int:
        """Returns how many runs the filter selects; `at_most` when they are more, since the count stops there."""

    async def due_runs(
        self,
        shards: Sequence[int],
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: RunPosition | None = None,
        limit: int,
    ) -> RunPage:
        """Returns open runs of these shards, ordered by (due_at, id), from behind the position `after` on.

        With `before`, only runs that are due by then. With `terminal` True, runs that have ended and that the result
        cache does not show yet. Results that are stored in parts are left out; saving such a run keeps them.
        """

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: RunPosition | None = None, limit: int
    ) -> RunPage:
        """Returns the channel's runs changed at `since` or later, ordered by (updated_at, id), from behind `after` on.

        Results that are stored in parts are left out (`Run.lacks_result`).
        """


class UsageSums(Protocol):
    async def sums(self, tenant_id: str, *, first: date, last: date) -> Sequence[tuple[UsageKey, UsageSum]]:
        """Returns what RunStore.save summed for the UTC days `first` to `last`; a key may stand in it repeatedly."""

    async def of_user(self, user_id: str) -> Sequence[tuple[UsageKey, UsageSum]]:
        """Returns the sums that have the user's id, in whichever tenant; a key may stand in it repeatedly."""

    async def tallies(
        self, tenant_id: str, *, first: date, last: date, user_id: str | None = None
    ) -> Sequence[tuple[UsageKey, Tally]]:
        """Returns the same as tallies; with `user_id`, those of that user alone. A key may stand in it repeatedly.

        Runs that ended under a release without tallies are counted, but have no code and no duration in them.
        """

    async def forget_user(self, user_id: str) -> None:
        """Removes the user's id from the sums, which stay as they are otherwise."""


class RunFeed(Protocol):
    @property
    def caught_up_at(self) -> float:
        """Returns a time of the event loop's clock: `next` has returned all changes up to then, or there were none.

        It is minus infinity before the first such time, and again after changes may have been lost on their way.
        """

    async def next(self, *, timeout: float) -> Run | None:
        """Returns the run as soon as it differs from what this feed returned last; the first call returns at once.

        It may skip states that are quickly replaced. Returns None after `timeout` seconds without a change.
        """


class RunWatcher(Protocol):
    def watch(self, run_id: str) -> AbstractAsyncContextManager[RunFeed]:
        """Opens a feed of one run, whoever changes it. Its `next` raises RunNotFound."""

    def watch_channel(self, channel: Channel, *, since: datetime) -> AbstractAsyncContextManager[RunFeed]:
        """Opens a feed of the channel's runs: those that have changed since then, and each that changes later.

        It returns each state of a run once, and may skip states that are quickly replaced. Large results are left out.
        Its `next` raises StoreUnavailable when more changes wait for the reader than are kept.
        """
