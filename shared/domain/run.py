"""Defines a run, which is one piece of LLM work, and the only ways in which it may change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.result import Result, Usage

INLINE_INPUT_BYTES = 16 * 1024
MAX_EVENTS = 100
SHARDS = 8


class Status(StrEnum):
    """A run goes pending → processing → completed, failed or cancelled, and never back."""

    PENDING = "pending"
    """Accepted; no worker has claimed it."""
    PROCESSING = "processing"
    """A worker has claimed it, or the LLM works on it."""
    COMPLETED = "completed"
    """It has a result."""
    FAILED = "failed"
    """It has an error."""
    CANCELLED = "cancelled"
    """Its owner stopped it."""


class Kind(StrEnum):
    """The family of routes by which the run was submitted."""

    ADMIN_RUN = "admin_run"
    """POST /llm_user_runs_admin."""
    USER_RUN = "user_run"
    """POST /llm_user_runs."""
    JOB = "job"
    """POST /api/llm/…"""


class EventType(StrEnum):
    """One type for each line of a run's history."""

    QUEUED = "run.queued"
    """The run was accepted."""
    STARTED = "run.started"
    """A worker claimed the run for the first time."""
    PROGRESS = "run.progress"
    """The LLM reported progress; detail: {progress: 0 to 1}."""
    RETRYING = "run.retrying"
    """The LLM could not be asked; detail: {reason: error code, delay_seconds}."""
    COMPLETED = "run.completed"
    """The run has a result."""
    FAILED = "run.failed"
    """The run has an error; detail: {code: error code}."""
    CANCELLED = "run.cancelled"
    """The owner stopped the run."""
    LATE_RESULT = "run.late_result"
    """The LLM delivered a result after the cancel; clients do not see this event."""


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
USER_RUN_KINDS = (Kind.ADMIN_RUN, Kind.USER_RUN)
_DROPPABLE_EVENTS = frozenset({EventType.PROGRESS, EventType.RETRYING, EventType.LATE_RESULT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a run's history. `sequence` counts from 1 within its run.

    `type` is an EventType; it stays a str so that documents of later releases can be read.
    """

    sequence: int
    type: str
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Tells why a run failed: an ErrorCode and one sentence that a front end may show."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """The model as it was when the run was submitted."""

    id: str
    name: str
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One piece of LLM work. All times are aware UTC.

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
    deployment: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    style_guide: str | None = None
    phrase_client_id: str | None = None
    reference_file_ids: tuple[str, ...] = ()
    started_at: datetime | None = None
    sent_at: datetime | None = None
    """When the LLM created the provider job; re-checks are planned from this time."""
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    """When the owner deleted the content."""
    attempt: int = 0
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
    """Why no worker has the run: the ErrorCode that it waits out."""
    progress: float | None = None
    checks: int = 0
    """How often the LLM was asked about the provider job, counted when the run ends."""
    result: Result | None = None
    result_parts: int = field(default=0, compare=False)
    """Owned by the store: the number of parts in which a large result is kept; `result` may then be left out."""
    usage: Usage = Usage()
    error: Failure | None = None
    events: tuple[Event, ...] = ()
    permit: int | None = None
    """Owned by the store: the number of the permit that the open run holds among those of its tenant."""
    revision: Any = field(default=None, compare=False)
    """Owned by the store: the stored version that this was read from; opaque."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def lacks_result(self) -> bool:
        """Whether the run has a result that was too large to be read along with it (see RunStore.list_runs)."""
        return self.result is None and self.result_parts > 0

    @property
    def idempotency_key(self) -> str:
        """The same key for every submit of one attempt, so that the LLM can recognize a repeat."""
        return f"{self.id}-{self.attempt}"

    @property
    def processing_time(self) -> timedelta | None:
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at

    def claimed(self, now: datetime, *, lease: timedelta) -> "Run":
        """Records the intent to call the LLM: until the lease ends no other worker may. Raises the fence."""
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
            events=self._with_event(EventType.STARTED, now) if is_first_claim else self.events,
        )

    def with_provider_job(self, now: datetime, *, provider_job_id: str) -> "Run":
        """Records the job that the LLM created for this attempt."""
        fresh = replace(self, provider_job_id=provider_job_id, sent_at=now, due_at=self.deadline_at)
        return fresh._after_good_answer(now)

    def progressed(self, now: datetime, *, progress: float | None) -> "Run":
        """Records that the LLM is at work; `progress` is from 0 to 1, None when the LLM does not report it."""
        fresh = self._after_good_answer(now)
        if progress is None or progress == self.progress:
            return fresh
        events = self._with_event(EventType.PROGRESS, now, progress=progress)
        return replace(fresh, progress=progress, events=events)

    def with_fault(self, now: datetime, *, reason: str, delay: timedelta) -> "Run":
        """Records a failed call to the LLM. A run without a provider job waits `delay` before the next attempt."""
        return replace(
            self,
            updated_at=now,
            faults=self.faults + 1,
            trouble=reason,
            repeats=self.repeats + 1 if self.trouble == reason else 1,
            waiting_for=reason,
            due_at=self.due_at if self.provider_job_id else now + delay,
            events=self._with_event(EventType.RETRYING, now, reason=reason, delay_seconds=delay.total_seconds()),
        )

    def restarted(self, now: datetime, *, reason: str, delay: timedelta) -> "Run":
        """Gives up the provider job, which failed in a way that a new job may not, and begins a new attempt."""
        fresh = replace(self, attempt=self.attempt + 1, provider_job_id=None, sent_at=None, progress=None)
        return fresh.with_fault(now, reason=reason, delay=delay)

    def completed(self, now: datetime, *, result: Result, usage: Usage, checks: int) -> "Run":
        ended = self._ended(Status.COMPLETED, now, EventType.COMPLETED)
        return replace(ended, result=result, usage=usage, checks=checks, progress=None)

    def failed(self, now: datetime, *, error: Failure, checks: int | None = None) -> "Run":
        ended = self._ended(Status.FAILED, now, EventType.FAILED, code=error.code)
        return replace(ended, error=error, checks=self.checks if checks is None else checks)

    def cancelled(self, now: datetime) -> "Run":
        return self._ended(Status.CANCELLED, now, EventType.CANCELLED)

    def with_late_result(self, now: datetime) -> "Run":
        """Records in the history that the LLM delivered after the cancel; status and result stay."""
        return replace(self, updated_at=now, events=self._with_event(EventType.LATE_RESULT, now))

    def erased(self, now: datetime) -> "Run":
        """Removes what user and LLM wrote; times, status and metrics stay."""
        return replace(
            self,
            input={},
            input_parts=0,
            style_guide=None,
            reference_file_ids=(),
            result=None,
            result_parts=0,
            deleted_at=now,
            updated_at=now,
            due_at=None,
        )

    def postponed(self, due_at: datetime | None) -> "Run":
        """Sets when the sweeper looks at the run; None when a terminal run needs nothing more."""
        return replace(self, due_at=due_at)

    def _after_good_answer(self, now: datetime) -> "Run":
        return replace(self, updated_at=now, faults=0, trouble=None, repeats=0, waiting_for=None)

    def _ended(self, status: Status, now: datetime, event: EventType, **detail: Any) -> "Run":
        return replace(
            self,
            status=status,
            completed_at=now,
            updated_at=now,
            due_at=None,
            waiting_for=None,
            events=self._with_event(event, now, **detail),
        )

    def _with_event(self, kind: EventType, now: datetime, **detail: Any) -> tuple[Event, ...]:
        sequence = self.events[-1].sequence + 1 if self.events else 1
        event = Event(sequence=sequence, type=kind, at=now, detail=detail)
        return _without_excess((*self.events, event))


def _without_excess(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Drops the oldest progress or retry above MAX_EVENTS, so that beginning and end of the history stay."""
    if len(events) <= MAX_EVENTS:
        return events
    drop = next(i for i, event in enumerate(events) if event.type in _DROPPABLE_EVENTS)
    return events[:drop] + events[drop + 1 :]
