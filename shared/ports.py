"""Defines the interfaces to the outside world. Each docstring is a promise that every adapter keeps.

Every method ends within a bounded time and may raise the TransientError of its port: StoreUnavailable,
QueueUnavailable, SchedulerUnavailable or CacheUnavailable. It raises no exception of the library behind it. Messages
and tasks are delivered at least once, in any order, and may be repeated at any time.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from shared.domain.channel import Channel
from shared.domain.dead_letter import DeadLetter
from shared.domain.directory import Model, Organization, Profile, ReferenceFile, StyleGuide
from shared.domain.durations import Durations
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import NO_LIMITS, Limits
from shared.domain.progress import Finished, JobCreated, OnText, Running
from shared.domain.recheck_plan import Recheck
from shared.domain.run import Run
from shared.domain.status import Kind, Lane, Status
from shared.domain.usage_sums import UsageKey, UsageSum


class Clock(Protocol):
    def now(self) -> datetime:
        """Returns aware UTC."""

    async def sleep(self, duration: timedelta) -> None:
        """Returns after that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Selects runs of one user; a field that is None selects all values."""

    user_id: str
    kinds: tuple[Kind, ...]
    status: Status | None = None
    job_type: str | None = None
    question_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPosition:
    """A place in a list that is ordered by a time (created_at, due_at or updated_at) and the run's id."""

    at: datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
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

    async def get(self, run_id: str, *, with_result: bool = True) -> Run:
        """Returns the run. Its input is empty when it is stored in parts (see load_input).

        With `with_result` False, a result that is stored in parts is left out (`Run.lacks_result`). Raises RunNotFound.
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

    async def count_runs(self, wanted: RunFilter) -> int:
        """Returns how many runs the filter selects."""

    async def due_runs(
        self,
        shard: int,
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: RunPosition | None = None,
        limit: int,
    ) -> RunPage:
        """Returns open runs of one shard, ordered by (due_at, id), from behind the position `after` on.

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

    async def forget_user(self, user_id: str) -> None:
        """Removes the user's id from the sums, which stay as they are otherwise."""


class RunFeed(Protocol):
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


class RunQueue(Protocol):
    async def publish(self, run_id: str, *, lane: Lane) -> None:
        """Calls process_run with the run at least once, through the queue of that lane. Raises QueueUnavailable."""


class RecheckScheduler(Protocol):
    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        """Makes recheck_run be called at that time or later, at least once, through the queue of that lane.

        Does nothing when a task of the same (run_id, attempt, sequence) was made in the last 24 hours. Raises
        SchedulerUnavailable.
        """


class DurationStore(Protocol):
    """Stores roughly how long provider jobs take, by key. The newest few hundred jobs count; some may be missing."""

    async def known(self, key: str) -> Durations:
        """Returns the durations stored under the key; empty ones when there are none. They may be a minute old."""

    async def add(self, key: str, durations: Durations) -> None: ...


class LlmProvider(Protocol):
    """Calls LLMs. Each call ends within a bounded time, or when cancelled, and raises LlmUnavailable or LlmRefused."""

    def slot(self, run: Run) -> AbstractAsyncContextManager[bool]:
        """Yields whether the run can be claimed and sent now. Raises LlmUnavailable while the server keeps failing."""

    async def start(
        self, run: Run, content: Mapping[str, Any], *, within: timedelta, on_text: OnText | None = None
    ) -> JobCreated | Finished:
        """Sends `content` under the run's idempotency key, and returns the LLM's job or its answer within that time."""

    async def check(self, run: Run) -> Running | Finished:
        """Returns the state of `run.provider_job_id`; changes nothing."""

    async def cancel(self, run: Run) -> None:
        """Asks the LLM to stop `run.provider_job_id`; a job that has ended is no error."""


class Directory(Protocol):
    """Reads records, which may be up to a minute old. Each method returns None when there is no such record."""

    async def profile(self, user_id: str) -> Profile | None: ...
    async def organization(self, organization_id: str) -> Organization | None: ...
    async def model(self, model_id: str) -> Model | None: ...
    async def style_guide(self, style_guide_id: str) -> StyleGuide | None: ...
    async def reference_file(self, file_id: str) -> ReferenceFile | None: ...


class ModelCatalogue(Protocol):
    async def models(self) -> Sequence[Model]:
        """Returns all models, also disabled ones, ordered by id. There are few, so there are no pages."""


class UserRecords(Protocol):
    async def forget_profile(self, user_id: str) -> bool:
        """Deletes the record of the user, and returns whether there was one. A Directory may show it a minute more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user that a token proves, and until when."""

    user_id: str
    expires_at: datetime
    signed_in_at: datetime | None = None
    """When the person last signed in; None when the token does not say."""


class TokenVerifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Returns whom the token stands for. Raises Unauthenticated, or IdentityUnavailable if it cannot be checked."""


class CachedVerifier(TokenVerifier, Protocol):
    def forget(self, token: str) -> None:
        """Removes what this process remembers of the token."""


class SessionIssuer(TokenVerifier, Protocol):
    """Makes and verifies session cookies. A cookie of a disabled or signed-out user is Unauthenticated."""

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        """Returns the cookie of a new session for the user of the verified `id_token`. Raises what `verify` raises."""


class EndedSessions(Protocol):
    """Stores which sessions were ended, by a hash of the cookie; the cookie itself is not stored."""

    async def end(self, session_hash: str, *, expires_at: datetime) -> None:
        """Stores it until `expires_at`, when the cookie expires anyway. Ending a session twice changes nothing."""

    async def has_ended(self, session_hash: str) -> bool:
        """Returns whether the session was ended."""


class ResultCache(Protocol):
    """Stores texts by key for a time, and may drop any of them early. Every call ends within about half a second."""

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        """Replaces the text. Raises CacheUnavailable, also without room; the text may then be stored or not."""

    async def get(self, key: str) -> str | None:
        """Returns the text, None when there is none."""

    async def delete(self, key: str) -> None:
        """Removes the text; a key that is not there is no error."""


class DeadLetters(Protocol):
    async def keep(
        self, *, message_id: str, source: str, reason: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        """Stores a message that could not be handled, for operators. The same message id is stored once."""

    async def kept(self, *, after: DeadLetter | None = None, limit: int) -> Sequence[DeadLetter]:
        """Returns the kept messages in an order of their own, from behind `after` on."""

    async def remove(self, letter: DeadLetter) -> None:
        """Deletes the message. Nothing happens if it is gone."""
