"""What the use cases ask of the outside world. An adapter that keeps these promises can take another's place.

Every method may raise the TransientError named for its port (StoreUnavailable, QueueUnavailable, SchedulerUnavailable,
CacheUnavailable), within a bounded time; foreign exceptions never pass. Delivery is at least once, unordered, and may
repeat at any time.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.domain.channel import Channel
from shared.domain.directory import Model, Organization, Profile
from shared.domain.limits import NO_LIMITS, Limits
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.run import Run
from shared.domain.status import Kind, Lane, Status


class Clock(Protocol):
    def now(self) -> datetime:
        """Returns aware UTC."""

    async def sleep(self, duration: timedelta) -> None:
        """Returns after that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Whose runs, and which; None filters nothing."""

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
    """What a store found. A document that cannot be read, such as one of a later release, has a position and no run."""

    runs: Sequence[Run]
    positions: Sequence[RunPosition]
    """One for each document found, in the order of the list; the next page begins after the last one."""

    @property
    def unreadable(self) -> list[str]:
        """The ids of the documents that cannot be read."""
        readable = {run.id for run in self.runs}
        return [position.run_id for position in self.positions if position.run_id not in readable]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """Which run a client's idempotency key belongs to. Hashes only; the key itself is not kept."""

    key_hash: str
    body_hash: str
    run_id: str
    expires_at: datetime


class RunStore(Protocol):
    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        """One atomic commit of the run, of its idempotency record, and of the parts of an input too large to be inline.

        None when the run is recorded; repeating it with the same run (after an answer was lost) does no harm. When the
        key belongs to another run that did not fail and has not expired, that record, and nothing is written.

        The same commit reserves the run's place within `limits`, so that of any number at once no more than allowed
        are recorded; raises TooManyRuns, and nothing is written. A store may count only runs accepted since a limit was
        lowered or set. IdempotencyKeyBusy when too many want one key at once, StoreUnavailable when too many want the
        same places; then nothing is known of whether the run is recorded.
        """

    async def get(self, run_id: str, *, with_result: bool = True) -> Run:
        """Returns the run. Its input is empty when it is kept in parts (see load_input).

        With `with_result` False, a result that is kept in parts is left out (`Run.lacks_result`). Raises RunNotFound.
        """

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        """The whole input, from the run or from its parts."""

    async def save(self, run: Run) -> Run:
        """Compare-and-set: replaces the stored run that `run.revision` was read from and returns it as stored.

        Raises StaleRun when somebody else saved in between, and ResultTooLarge when the run cannot be stored like this
        however often it is tried; then nothing has changed.
        """

    async def erase(self, run: Run) -> Run:
        """Like `save`, of a run whose content was taken out; the same commit deletes what of it is kept in parts."""

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        """Deletes what is past its `expires_at`, where the store does not do that by itself: how many runs."""

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: RunPosition | None = None
    ) -> RunPage:
        """Newest first; `after` starts behind that cursor, whatever was inserted meanwhile.

        Results that are kept in parts are left out (`Run.lacks_result`), so that a page's bytes are bounded.
        """

    async def count_runs(self, wanted: RunFilter) -> int: ...

    async def due_runs(
        self,
        shard: int,
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: RunPosition | None = None,
        limit: int,
    ) -> RunPage:
        """Open runs of one shard, ordered by (due_at, id), behind `after`; with `before` only those due by then.

        `terminal`: instead of them the complete runs that the result cache does not show yet. Results that are kept in
        parts are left out; saving such a run keeps them.
        """

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: RunPosition | None = None, limit: int
    ) -> RunPage:
        """Runs of the channel whose `updated_at` is `since` or later, ordered by (updated_at, id), behind `after`.

        Results that are kept in parts are left out (`Run.lacks_result`).
        """


class RunFeed(Protocol):
    async def next(self, *, timeout: float) -> Run | None:
        """The run as soon as it differs from what this feed gave last (at once the first time).

        States that quickly replace one another may be skipped. None after `timeout` seconds without a change.
        """


class RunWatcher(Protocol):
    def watch(self, run_id: str) -> AbstractAsyncContextManager[RunFeed]:
        """Follows one run, whoever changes it. Reading raises RunNotFound."""

    def watch_channel(self, channel: Channel, *, since: datetime) -> AbstractAsyncContextManager[RunFeed]:
        """Follows a channel: each run that has changed since then, and then each that changes, one at a time.

        The same state of a run is given once; of states that quickly replace one another perhaps only the last.
        Reading raises StoreUnavailable when so much has happened between two reads that it is not kept.
        """


class RunQueue(Protocol):
    async def publish(self, run_id: str, *, lane: Lane = Lane.SHORT) -> None:
        """Has process_run called with the run at least once, over the queue of that lane. Raises QueueUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """What a re-check task carries: ids and counts only."""

    run_id: str
    attempt: int
    sequence: str
    """Tells the re-checks of one attempt apart; the same sequence is the same task."""
    checks: int = 0
    """How many times the LLM has been asked so far."""


class RecheckScheduler(Protocol):
    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane = Lane.SHORT) -> None:
        """Has recheck_run called at that time or later, at least once, over the queue of that lane.

        A task of the same (run_id, attempt, sequence) made in the last 24 hours makes this a success without effect.
        """


class LlmProvider(Protocol):
    """Every call ends within a bounded time. Raises LlmUnavailable or LlmRefused."""

    def slot(self, run: Run) -> AbstractAsyncContextManager[bool]:
        """Whether there is room to start the run at once. It is claimed inside, so that no lease is waited away."""

    async def start(self, run: Run, content: Mapping[str, Any], *, within: timedelta) -> JobCreated | Finished:
        """Submits the run under its idempotency key, or gets the answer at once; `within` that time, or less."""

    async def check(self, run: Run) -> Running | Finished:
        """Asks about `run.provider_job_id`; changes nothing."""

    async def cancel(self, run: Run) -> None:
        """Asks to stop `run.provider_job_id`; a job that has ended is no error."""


class Directory(Protocol):
    """Read only; records may be up to a minute old. None when there is no such record."""

    async def profile(self, user_id: str) -> Profile | None: ...

    async def organization(self, organization_id: str) -> Organization | None: ...

    async def model(self, model_id: str) -> Model | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a token proves, and until when."""

    user_id: str
    expires_at: datetime
    signed_in_at: datetime | None = None
    """When the person last proved who they are; None when the token does not say."""


class TokenVerifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Who the token speaks for. Raises Unauthenticated, and IdentityUnavailable when that cannot be found out."""


class CachedVerifier(TokenVerifier, Protocol):
    def forget(self, token: str) -> None:
        """What was found out about this token earlier counts no longer, in this process."""


class SessionIssuer(TokenVerifier, Protocol):
    """Verifies the cookies that it makes; one whose owner was disabled or signed out everywhere is Unauthenticated."""

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        """The cookie of a new session of whom `id_token` was verified to be. Raises what `verify` does."""


class EndedSessions(Protocol):
    """Sessions that their owner has ended, by a hash of the cookie; the cookie itself is not kept."""

    async def end(self, session_hash: str, *, expires_at: datetime) -> None:
        """It may be forgotten at `expires_at`, when the cookie is worth nothing anyway. Ending twice does no harm."""

    async def has_ended(self, session_hash: str) -> bool: ...


class ResultCache(Protocol):
    """Texts by key, for a time; any may be gone early. Every call ends within about half a second."""

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        """Replaces what was there. Raises CacheUnavailable, also when there is no room; it may then be there or not."""

    async def get(self, key: str) -> str | None: ...

    async def delete(self, key: str) -> None:
        """What is not there is no error."""


class DeadLetters(Protocol):
    async def keep(
        self, *, message_id: str, source: str, reason: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        """Stores a message that could not be handled, for people to look at; keeping it twice keeps it once."""
