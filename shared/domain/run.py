"""The run: what is known of one piece of LLM work, and the only ways it may change."""

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
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    ADMIN_RUN = "admin_run"
    USER_RUN = "user_run"
    JOB = "job"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
USER_RUN_KINDS = (Kind.ADMIN_RUN, Kind.USER_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a run's history; `sequence` counts from 1 within its run."""

    sequence: int
    type: str
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run failed: a stable code and one sentence that a front end may show."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    id: str
    name: str
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Times are aware UTC. `due_at`: when the run wants attention if nothing else happens. An open run always has one,
    a complete one only while the result cache does not show it.
    """

    id: str
    kind: Kind
    status: Status
    user_id: str
    organization_id: str
    tenant_id: str
    """The caller's own organization, whose channels and limits it is under; `organization_id` may be its client's."""
    channel: str
    api: str
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    expires_at: datetime
    due_at: datetime | None
    shard: int
    root_run_id: str
    input: Mapping[str, Any]
    """The text or input_data; empty when it is kept in parts (see RunStore.load_input)."""
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
    """When the LLM took the provider job; re-checks are planned from here."""
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    """When its owner had its content erased."""
    attempt: int = 0
    fence: int = 0
    provider_job_id: str | None = None
    faults: int = 0
    """Troubles with the LLM in a row; 0 once it answers well."""
    trouble: str | None = None
    repeats: int = 0
    """The latest trouble's code, and how often in a row it was this one."""
    waiting_for: str | None = None
    """Why nobody is at work on it: the trouble it waits out."""
    progress: float | None = None
    checks: int = 0
    result: Result | None = None
    result_parts: int = field(default=0, compare=False)
    """A store's own note: how many parts a large result is kept in; it may then be left out here."""
    usage: Usage = Usage()
    error: Failure | None = None
    events: tuple[Event, ...] = ()
    permit: int | None = None
    """A store's own note: the number of the place that the open run takes among those of its tenant."""
    revision: Any = field(default=None, compare=False)
    """The stored version this was read from, opaque; a save based on an old one is refused."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def lacks_result(self) -> bool:
        """It has one, which was too large to be read along with it (see RunStore.list_runs)."""
        return self.result is None and self.result_parts > 0

    @property
    def idempotency_key(self) -> str:
        """The same for every submit of one attempt, so that the LLM can tell a repeat."""
        return f"{self.id}-{self.attempt}"

    @property
    def processing_time(self) -> timedelta | None:
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at

    def claimed(self, now: datetime, *, lease: timedelta) -> "Run":
        """Intent to call the LLM: until the lease is over nobody else may. Raises the fence."""
        first = self.status is Status.PENDING
        events = self._with_event("run.started", now) if first else self.events
        return replace(
            self,
            status=Status.PROCESSING,
            started_at=self.started_at or now,
            updated_at=now,
            attempt=max(self.attempt, 1),
            fence=self.fence + 1,
            due_at=min(now + lease, self.deadline_at),
            waiting_for=None,
            events=events,
        )

    def accepted(self, now: datetime, *, provider_job_id: str) -> "Run":
        return replace(
            self,
            provider_job_id=provider_job_id,
            sent_at=now,
            updated_at=now,
            due_at=self.deadline_at,
            faults=0,
            trouble=None,
            repeats=0,
            waiting_for=None,
        )

    def progressed(self, now: datetime, *, progress: float | None) -> "Run":
        """The LLM answers and is at work; `progress` from 0 to 1, None when it does not say."""
        changed = progress is not None and progress != self.progress
        events = self._with_event("run.progress", now, progress=progress) if changed else self.events
        return replace(
            self,
            progress=progress if changed else self.progress,
            updated_at=now,
            faults=0,
            trouble=None,
            repeats=0,
            waiting_for=None,
            events=events,
        )

    def troubled(self, now: datetime, *, reason: str, delay: timedelta) -> "Run":
        """The LLM could not be asked. Without a provider job the run waits until `due_at` for the next try."""
        return replace(
            self,
            updated_at=now,
            faults=self.faults + 1,
            trouble=reason,
            repeats=self.repeats + 1 if self.trouble == reason else 1,
            waiting_for=reason,
            due_at=self.due_at if self.provider_job_id else now + delay,
            events=self._with_event("run.retrying", now, reason=reason, delay_seconds=delay.total_seconds()),
        )

    def restarted(self, now: datetime, *, reason: str, delay: timedelta) -> "Run":
        """The provider job failed in a way that a new one may not: a new attempt with a new idempotency key."""
        fresh = replace(self, attempt=self.attempt + 1, provider_job_id=None, sent_at=None, progress=None)
        return fresh.troubled(now, reason=reason, delay=delay)

    def completed(self, now: datetime, *, result: Result, usage: Usage, checks: int) -> "Run":
        return self._ended(
            Status.COMPLETED, now, "run.completed", result=result, usage=usage, checks=checks, progress=None
        )

    def failed(self, now: datetime, *, error: Failure, checks: int | None = None) -> "Run":
        return self._ended(
            Status.FAILED,
            now,
            "run.failed",
            detail={"code": error.code},
            error=error,
            checks=self.checks if checks is None else checks,
        )

    def cancelled(self, now: datetime) -> "Run":
        return self._ended(Status.CANCELLED, now, "run.cancelled")

    def with_late_result(self, now: datetime) -> "Run":
        """What the LLM still delivered after the cancel; history, not status."""
        return replace(self, updated_at=now, events=self._with_event("run.late_result", now))

    def erased(self, now: datetime) -> "Run":
        """What user and LLM wrote is gone; what happened, when, and what it cost stays."""
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
        """None, for a complete run: it wants nothing more."""
        return replace(self, due_at=due_at)

    def _ended(
        self, status: Status, now: datetime, event: str, *, detail: Mapping[str, Any] | None = None, **changes: Any
    ) -> "Run":
        return replace(
            self,
            status=status,
            completed_at=now,
            updated_at=now,
            due_at=None,
            waiting_for=None,
            events=self._with_event(event, now, **(detail or {})),
            **changes,
        )

    def _with_event(self, kind: str, now: datetime, **detail: Any) -> tuple[Event, ...]:
        sequence = self.events[-1].sequence + 1 if self.events else 1
        return _bounded((*self.events, Event(sequence=sequence, type=kind, at=now, detail=detail)))


def _bounded(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Keeps MAX_EVENTS: the oldest progress or retry goes first; beginning and end of the history stay."""
    if len(events) <= MAX_EVENTS:
        return events
    drop = next(
        i for i, event in enumerate(events) if event.type in ("run.progress", "run.retrying", "run.late_result")
    )
    return events[:drop] + events[drop + 1 :]
