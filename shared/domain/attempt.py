"""Records each attempt to have the LLM do a run: when, how it ended, and whether it may have cost money."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.frozen import replace
from shared.error_codes import ErrorCode

MAX_KEPT_ATTEMPTS = 20


class Outcome(StrEnum):
    """Tells how an attempt ended."""

    ACCEPTED = "accepted"
    """The LLM created a provider job, which is still open."""
    COMPLETED = "completed"
    """The LLM delivered a result."""
    REFUSED = "refused"
    """The LLM refused for good."""
    RATE_LIMITED = "rate_limited"
    """The LLM server refused for now, before it accepted anything."""
    UNAVAILABLE = "unavailable"
    """The LLM server was down, overloaded, or answered what could not be read."""
    TIMEOUT = "timeout"
    """The LLM server did not answer in time."""
    CONNECTION_LOST = "connection_lost"
    """The connection failed, or the worker that held it was lost."""
    JOB_FAILED = "job_failed"
    """The provider job failed."""
    CANCELLED = "cancelled"
    """The run ended before the attempt did."""


_OUTCOME_OF: Mapping[str, Outcome] = {
    ErrorCode.LLM_RATE_LIMITED: Outcome.RATE_LIMITED,
    ErrorCode.LLM_UNAVAILABLE: Outcome.UNAVAILABLE,
    ErrorCode.LLM_OVERLOADED: Outcome.UNAVAILABLE,
    ErrorCode.LLM_UNREADABLE: Outcome.UNAVAILABLE,
    ErrorCode.LLM_TIMEOUT: Outcome.TIMEOUT,
    ErrorCode.LLM_CUT_OFF: Outcome.TIMEOUT,
    ErrorCode.LLM_ANSWER_TIMEOUT: Outcome.TIMEOUT,
    ErrorCode.LLM_CONNECTION_LOST: Outcome.CONNECTION_LOST,
    ErrorCode.LLM_JOB_FAILED: Outcome.JOB_FAILED,
    ErrorCode.LLM_JOB_UNKNOWN: Outcome.JOB_FAILED,
    ErrorCode.LLM_FAILED: Outcome.JOB_FAILED,
    ErrorCode.LLM_JOB_CANCELLED: Outcome.CANCELLED,
    ErrorCode.LLM_REFUSED: Outcome.REFUSED,
    ErrorCode.LLM_INPUT_TOO_LONG: Outcome.REFUSED,
    ErrorCode.LLM_MODEL_GONE: Outcome.REFUSED,
    ErrorCode.LLM_QUOTA_EXHAUSTED: Outcome.REFUSED,
    ErrorCode.LLM_CREDENTIALS: Outcome.REFUSED,
    ErrorCode.MODEL_UNAVAILABLE: Outcome.REFUSED,
}


def outcome_of(code: str) -> Outcome:
    """Returns the outcome of an attempt that ended with this ErrorCode; other codes end a run before its attempt."""
    return _OUTCOME_OF.get(code, Outcome.CANCELLED)


class Attempt(Struct, frozen=True, kw_only=True):
    """`outcome` is an Outcome, and None while the attempt is under way. `number` counts from 1 within its run.

    `may_be_billed` is True from the start, since a lost worker cannot tell what its call has cost; an answer that
    proves the opposite sets it to False.
    """

    number: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    deployment: str | None = None
    model: str | None = None
    provider_job_id: str | None = None
    may_be_billed: bool = True
    cost_usd: float | None = None


def with_new(
    attempts: Sequence[Attempt], now: datetime, *, deployment: str | None, model: str | None
) -> tuple[Attempt, ...]:
    """Appends an attempt that begins now."""
    number = attempts[-1].number + 1 if attempts else 1
    return _without_excess((*attempts, Attempt(number=number, started_at=now, deployment=deployment, model=model)))


def with_last(attempts: tuple[Attempt, ...], ended_at: datetime | None = None, **changes: Any) -> tuple[Attempt, ...]:
    """Changes the last attempt; it stays under way when `ended_at` is None."""
    if not attempts:
        return ()
    return (*attempts[:-1], replace(attempts[-1], ended_at=ended_at, **changes))


def with_last_ended(
    attempts: tuple[Attempt, ...], now: datetime, outcome: Outcome, may_be_billed: bool | None = None
) -> tuple[Attempt, ...]:
    """Ends the last attempt when it, or its provider job, is under way; None keeps its `may_be_billed`."""
    if not attempts or attempts[-1].ended_at is not None:
        return attempts
    billed = attempts[-1].may_be_billed if may_be_billed is None else may_be_billed
    return with_last(attempts, now, outcome=outcome, may_be_billed=billed)


def _without_excess(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Drops the oldest attempts that cost nothing above MAX_KEPT_ATTEMPTS; the others are bounded by max_attempts."""
    kept = list(attempts)
    while len(kept) > MAX_KEPT_ATTEMPTS:
        drop = next((i for i, attempt in enumerate(kept) if not attempt.may_be_billed), 0)
        del kept[drop]
    return tuple(kept)
