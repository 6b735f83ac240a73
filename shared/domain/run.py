"""Defines a run, which is one piece of LLM work, and the only ways in which it may change."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from shared.domain.attempt import Attempt, Outcome, outcome_of, with_last, with_last_ended, with_new
from shared.domain.bill import NO_BILL, Bill, charged
from shared.domain.directory import ModelRef
from shared.domain.event import Event, EventType, with_event, without_deltas
from shared.domain.failure import Failure
from shared.domain.frozen import are_equal_besides, replace
from shared.domain.result import Result, Usage
from shared.domain.status import IDEMPOTENT_APIS, SYNCHRONOUS_APIS, TERMINAL, Kind, Lane, Service, Status, Wait
from shared.domain.target import Target
from shared.domain.webhook import WebhookTarget
from shared.error_codes import ErrorCode

INLINE_INPUT_BYTES = 16 * 1024
SHARDS = 8


class Run(Struct, frozen=True, kw_only=True, rename={"usage": "metrics"}, omit_defaults=True):
    """One piece of LLM work. All times are aware UTC.

    Stored documents have the `usage` as `metrics`, and may lack fields with their default: no default ever changes.

    `due_at` is when the sweeper looks at the run if nothing else happens. An open run always has one; a terminal run
    has one only while the result cache does not show it.
    """

    id: str
    kind: Kind
    status: Status
    user_id: str
    organization_id: str
    tenant_id: str
    """The caller's own organization, which owns channels and limits; `organization_id` may be its end client's."""
    channel: str
    api: str
    """The LLM protocol, an LlmApi."""
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    expires_at: datetime
    due_at: datetime | None
    shard: int
    root_run_id: str
    input: Mapping[str, Any]
    """{text} or the job's input_data; empty when it is kept in parts (see RunStore.load_input)."""
    input_parts: int = 0
    prior_run_id: str | None = None
    prior_provider_job_id: str | None = None
    job_type: str | None = None
    question_id: str | None = None
    model: ModelRef | None = None
    service: Service = Service.STANDARD
    deployment: str | None = None
    fallbacks: tuple[Target, ...] = ()
    """Where the run may go next when its model or deployment cannot take it."""
    requested: Target | None = None
    """Where the client sent the run; None while it is still there."""
    source_lang: str | None = None
    target_lang: str | None = None
    style_guide: str | None = None
    phrase_client_id: str | None = None
    reference_file_ids: tuple[str, ...] = ()
    terms: tuple[Mapping[str, str], ...] = ()
    """[{source, target}]: the organization's required terms that the text of a translation has."""
    started_at: datetime | None = None
    sent_at: datetime | None = None
    """When the LLM created the provider job; re-checks are planned from this time."""
    plan: tuple[int, ...] = ()
    """The chosen offsets of the re-checks in seconds after `sent_at` (see RecheckPlan)."""
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    """When the owner deleted the content."""
    attempt: int = 0
    """Part of the idempotency key; rises when a provider job has failed and a new one is wanted."""
    attempts: tuple[Attempt, ...] = ()
    repairs: int = 0
    """How often a chat model may still be asked to repair its translation."""
    max_attempts: int = 3
    """How many attempts may be billed before the run fails."""
    worker_errors: int = 0
    """How often handling this run raised an unexpected error."""
    fence: int = 0
    """Rises with every claim; a write under an older claim is refused."""
    provider_job_id: str | None = None
    faults: int = 0
    """Consecutive failed calls to the LLM; 0 after a good answer."""
    trouble: str | None = None
    """The ErrorCode of the latest failed call; None after a good answer."""
    repeats: int = 0
    """How often in a row the failed calls had the code `trouble`."""
    waiting_for: str | None = None
    """Why no worker has the run: the ErrorCode that it waits out, or a Wait."""
    progress: float | None = None
    checks: int = 0
    """How often the LLM was asked about the provider job, counted when the run ends."""
    result: Result | None = None
    """Of an open run: the first answer, while a second one that repairs it is awaited."""
    result_parts: int = 0
    """Owned by the store: the number of parts in which a large result is kept; `result` may then be left out."""
    usage: Usage = Usage()
    bill: Bill = NO_BILL
    error: Failure | None = None
    events: tuple[Event, ...] = ()
    webhooks: tuple[WebhookTarget, ...] = ()
    """Who is told of the events."""
    traceparent: str | None = None
    """The W3C trace context of the request that submitted the run; all later steps belong to its trace."""
    permit: int | None = None
    """Owned by the store: the number of the permit that the open run holds among those of its tenant."""
    revision: Any = None
    """Owned by the store: the stored version that this was read from; opaque."""
    clock_offset: timedelta = timedelta(0)
    """Owned by the store: how far its clock was ahead of the worker's when this was read; it is not stored."""

    def __eq__(self, other: object) -> bool:
        return are_equal_besides(self, other, result_parts=0, revision=None, clock_offset=timedelta(0))

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def lacks_result(self) -> bool:
        """Returns whether the run has a result that was left out as too large (see RunStore.list_runs)."""
        return self.result is None and self.result_parts > 0

    @property
    def idempotency_key(self) -> str:
        """Returns the same key for every submit of one attempt, so that the LLM can recognize a repeat."""
        return f"{self.id}-{self.attempt}"

    @property
    def open_attempt(self) -> Attempt | None:
        """Returns the attempt whose end is not recorded: a worker makes its call, or was lost while it did."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].outcome is None else None

    @property
    def billed_attempts(self) -> int:
        """Returns how many attempts may have cost money."""
        return sum(attempt.may_be_billed for attempt in self.attempts)

    @property
    def resumes_attempt(self) -> bool:
        """Returns whether a new claim continues the attempt of a lost worker, as protocols with idempotency keys do."""
        return self.open_attempt is not None and self.api in IDEMPOTENT_APIS

    @property
    def has_resumed_attempt(self) -> bool:
        """Returns whether the claim continued the attempt of an earlier one, whose call the LLM may have accepted."""
        return self.resumes_attempt and self.attempts[-1].started_at < self.updated_at

    @property
    def lane(self) -> Lane:
        """Returns the lane of the run's queue: a call to a synchronous protocol lasts as long as the LLM works."""
        return Lane.LONG if self.api in SYNCHRONOUS_APIS else Lane.SHORT

    @property
    def processing_time(self) -> timedelta | None:
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at

    def claimed(self, now: datetime, *, lease: timedelta) -> "Run":
        """Records the intent to call the LLM: until the lease ends no other worker may. Raises the fence.

        The attempt of a lost worker is continued, or it ends as lost and a new one begins (see resumes_attempt).
        """
        is_first_claim = self.status is Status.PENDING
        return replace(
            self,
            status=Status.PROCESSING,
            started_at=self.started_at or now,
            updated_at=now,
            attempt=max(self.attempt, 1),
            fence=self.fence + 1,
            due_at=min(now + lease, self.deadline_at),
            waiting_for=None,
            attempts=self.attempts if self.resumes_attempt else self._with_new_attempt(now),
            events=self._with_event(EventType.STARTED, now) if is_first_claim else self.events,
        )

    def with_provider_job(self, now: datetime, *, provider_job_id: str, plan: tuple[int, ...] = ()) -> "Run":
        """Records the job that the LLM created for this attempt, and when the LLM is asked about it."""
        fresh = replace(
            self,
            provider_job_id=provider_job_id,
            sent_at=now,
            plan=plan,
            due_at=self.deadline_at,
            attempts=with_last(self.attempts, outcome=Outcome.ACCEPTED, provider_job_id=provider_job_id),
        )
        return fresh._after_good_answer(now)

    def progressed(self, now: datetime, *, progress: float | None) -> "Run":
        """Records that the LLM is at work; `progress` is from 0 to 1, None when the LLM does not report it."""
        fresh = self._after_good_answer(now)
        if progress is None or progress == self.progress:
            return fresh
        events = self._with_event(EventType.PROGRESS, now, progress=progress)
        return replace(fresh, progress=progress, events=events)

    def with_fault(self, now: datetime, *, reason: str, delay: timedelta, may_be_billed: bool) -> "Run":
        """Records a failed call to the LLM. A run without a provider job waits `delay` before the next attempt."""
        return replace(
            self.with_lost_attempt(now, reason=reason, may_be_billed=may_be_billed),
            updated_at=now,
            faults=self.faults + 1,
            trouble=reason,
            repeats=self.repeats + 1 if self.trouble == reason else 1,
            waiting_for=reason,
            due_at=self.due_at if self.provider_job_id else now + delay,
            events=self._with_event(EventType.RETRYING, now, reason=reason, delay_seconds=delay.total_seconds()),
        )

    def with_lost_attempt(self, now: datetime, *, reason: str, may_be_billed: bool) -> "Run":
        """Ends the attempt under way without a result, unless its idempotency key may find a provider job again."""
        if self.open_attempt is None or (self.resumes_attempt and (may_be_billed or self.has_resumed_attempt)):
            return self
        outcome = outcome_of(reason)
        return replace(self, attempts=with_last(self.attempts, now, outcome=outcome, may_be_billed=may_be_billed))

    def restarted(self, now: datetime, *, reason: str, delay: timedelta) -> "Run":
        """Gives up the provider job, which failed in a way that a new job may not, and waits for a new attempt."""
        attempts = with_last(self.attempts, now, outcome=outcome_of(reason))
        fresh = replace(
            self, attempt=self.attempt + 1, provider_job_id=None, sent_at=None, progress=None, attempts=attempts
        )
        return fresh.with_fault(now, reason=reason, delay=delay, may_be_billed=True)

    def with_worker_error(self, now: datetime, *, delay: timedelta) -> "Run":
        """Counts an unexpected error of the code that handled this run."""
        due_at = self.due_at if self.provider_job_id else now + delay
        return replace(self, worker_errors=self.worker_errors + 1, due_at=due_at)

    def completed(
        self, now: datetime, *, result: Result, usage: Usage, checks: int, attempts: tuple[Attempt, ...] | None = None
    ) -> "Run":
        """Completes the run. `attempts` replaces its attempts; by default the last one has cost what `usage` says."""
        attempts = attempts or with_last(self.attempts, now, outcome=Outcome.COMPLETED, cost_usd=usage.cost_usd)
        ended = replace(self, usage=usage)._ended(Status.COMPLETED, now, EventType.COMPLETED, attempts)
        events = without_deltas(ended.events)
        return replace(ended, result=result, checks=checks, progress=None, events=events)

    def failed(
        self, now: datetime, *, error: Failure, checks: int | None = None, may_be_billed: bool | None = None
    ) -> "Run":
        """Fails the run. `may_be_billed` tells of the latest call of the attempt; None keeps what is recorded."""
        billed = None if self.has_resumed_attempt else may_be_billed
        attempts = with_last_ended(self.attempts, now, outcome_of(error.code), billed)
        ended = self._ended(Status.FAILED, now, EventType.FAILED, attempts, code=error.code)
        return replace(ended, error=error, checks=self.checks if checks is None else checks)

    def cancelled(self, now: datetime) -> "Run":
        attempts = with_last_ended(self.attempts, now, Outcome.CANCELLED)
        return replace(self._ended(Status.CANCELLED, now, EventType.CANCELLED, attempts), result=None)

    def with_late_result(self, now: datetime) -> "Run":
        """Records in the history that the LLM delivered after the cancel; status and result stay."""
        return replace(self, updated_at=now, events=self._with_event(EventType.LATE_RESULT, now))

    def waiting(self, reason: Wait, *, due_at: datetime | None) -> "Run":
        """Records that any worker may start the run at once; the sweeper sends it to one at `due_at`."""
        return replace(self, waiting_for=reason, due_at=due_at)

    def postponed(self, due_at: datetime | None) -> "Run":
        """Sets when the sweeper looks at the run; None when a terminal run needs nothing more."""
        return replace(self, due_at=due_at)

    def _after_good_answer(self, now: datetime) -> "Run":
        return replace(self, updated_at=now, faults=0, trouble=None, repeats=0, waiting_for=None)

    def _with_new_attempt(self, now: datetime) -> tuple[Attempt, ...]:
        lost = self.with_lost_attempt(now, reason=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=True)
        model = self.model.id if self.model else None
        return with_new(lost.attempts, now, deployment=self.deployment, model=model)

    def _ended(
        self, status: Status, now: datetime, event: EventType, attempts: tuple[Attempt, ...], **detail: Any
    ) -> "Run":
        return replace(
            self,
            attempts=attempts,
            usage=charged(self.usage, attempts, self.bill),
            status=status,
            completed_at=now,
            updated_at=now,
            due_at=None,
            waiting_for=None,
            events=self._with_event(event, now, **detail),
        )

    def _with_event(self, kind: EventType, now: datetime, **detail: Any) -> tuple[Event, ...]:
        return with_event(self.events, kind, now, **detail)
