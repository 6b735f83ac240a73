"""Decides when a run goes to its next model or deployment: a pure function of the run, its fault and the time.

A run leaves its target at once when that is gone, and when a provider job has failed there. It leaves a target that is
overloaded or limits its rate when the wait for it is longer than PATIENCE. It never leaves a provider job that may be
at work, not even one of which only a lost worker knew the id.

A run that has left the target that the client asked for, and could have been answered there later, comes back to it as
its last target. So no fallback that is wrongly set up, or takes less than the model that was asked for, fails a run.
"""

from datetime import datetime, timedelta

from shared.domain.attempt import outcome_of, with_last_ended
from shared.domain.event import EventType, with_event
from shared.domain.frozen import replace
from shared.domain.result import Result
from shared.domain.run import Run
from shared.domain.target import Target
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable

PATIENCE = timedelta(seconds=3)
GONE = frozenset({ErrorCode.LLM_MODEL_GONE, ErrorCode.MODEL_UNAVAILABLE})
BUSY = frozenset({ErrorCode.LLM_OVERLOADED, ErrorCode.LLM_RATE_LIMITED})
UNFIT = frozenset(
    {
        ErrorCode.LLM_CREDENTIALS,
        ErrorCode.LLM_QUOTA_EXHAUSTED,
        ErrorCode.LLM_INPUT_TOO_LONG,
        ErrorCode.LLM_REFUSED,
    }
)
"""What makes a run leave a fallback, though not the target that the client asked for; see after_call."""
RETURN_DELAY = timedelta(seconds=10)
"""How long a run waits before it comes back to a target that was busy."""


def after_call(run: Run, fault: LlmUnavailable | LlmRefused, now: datetime, *, delay: timedelta) -> Run | None:
    """Returns the run on the way to its next target after a call has failed, None when it stays where it is.

    `delay` is the wait before it would be tried again where it is. Its next call may begin at `due_at`.
    """
    if fault.code == ErrorCode.LLM_JOB_FAILED:
        return _moved(run, fault, now)
    if run.provider_job_id is not None and fault.code != ErrorCode.LLM_MODEL_GONE:  # it may be at work
        return None
    if fault.code in GONE or (fault.code in BUSY and delay > PATIENCE and not run.has_resumed_attempt):
        return _moved(run, fault, now)
    is_away = run.requested is not None
    return _moved(run, fault, now) if is_away and fault.code in UNFIT and not fault.may_be_billed else None


def before_call(run: Run, fault: LlmUnavailable, now: datetime) -> Run | None:
    """Returns the run on the way to its next target when its server keeps failing and is not even asked.

    None when it waits. `run` is not claimed: an attempt that is under way was left by a lost worker, and a protocol
    with idempotency keys may find its provider job again.
    """
    if run.resumes_attempt or (fault.retry_after or timedelta(0)) <= PATIENCE:
        return None
    return _moved(run.with_lost_attempt(now, reason=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=True), fault, now)


def answered_by(run: Run, result: Result) -> Result:
    """Returns the result with the name of the target that answered when that is not the requested one."""
    return result if run.requested is None else replace(result, model_used=target_of(run).name)


def target_of(run: Run) -> Target:
    """Returns where the run is sent now."""
    return Target(api=run.api, model=run.model, deployment=run.deployment)


def _moved(run: Run, fault: LlmUnavailable | LlmRefused, now: datetime) -> Run | None:
    """Ends the attempt and turns the run to its next target; None without one, or when no more may be paid for.

    The next attempt has a number of its own, hence a new idempotency key and new names of tasks. Protocol, model and
    deployment change in place, so that a worker of an earlier release goes on with the right target.
    """
    if not run.fallbacks or now >= run.deadline_at:
        return None
    target, *rest = run.fallbacks
    is_return = target == run.requested
    if run.requested is None and fault.code not in GONE:
        rest.append(target_of(run))
    delay = RETURN_DELAY if is_return else timedelta(0)
    billed = None if run.has_resumed_attempt or run.provider_job_id else fault.may_be_billed
    attempts = with_last_ended(run.attempts, now, outcome_of(fault.code), billed)
    moved = replace(
        run,
        api=target.api,
        model=target.model,
        deployment=target.deployment,
        fallbacks=tuple(rest),
        requested=None if is_return else run.requested or target_of(run),
        attempt=run.attempt + 1,
        attempts=attempts,
        provider_job_id=None,
        prior_provider_job_id=None,
        sent_at=None,
        plan=(),
        progress=None,
        faults=0,
        trouble=None,
        repeats=0,
        waiting_for=fault.code,
        updated_at=now,
        due_at=now + delay,
        events=with_event(
            run.events,
            EventType.RETRYING,
            now,
            reason=fault.code,
            delay_seconds=delay.total_seconds(),
            **target.detail,
        ),
    )
    return None if moved.billed_attempts >= moved.max_attempts else moved
