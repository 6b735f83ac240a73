"""Decides what happens to a run: pure functions of the run, of what was observed of the LLM, and of the time.

`next_step` answers what a worker does with the run now. `consequence` answers what follows from what the worker then
observed of the LLM. Each is called at one place in usecases/advance.py.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain import fallback
from shared.domain.attempt import Attempt, Outcome, with_last
from shared.domain.checked_translation import with_checks
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.recheck_plan import CLOCK_SKEW, Recheck, RecheckPlan, recheck_time
from shared.domain.repair import (
    better_answer,
    ended_repair,
    has_answer_in_hand,
    has_tried_repair,
    total_usage,
    wants_repair,
    with_answer_in_hand,
)
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.status import Status, Wait
from shared.error_codes import ErrorCode
from shared.errors import DeadlineExceeded, LlmRefused, LlmUnavailable

FIRST_RETRY = timedelta(seconds=1)
MAX_RETRY = timedelta(seconds=60)
MAX_UNREADABLE = 5
MAX_UNKNOWN = 5
"""One odd answer ends no run: a job may be unknown for a moment after its creation, or behind a faulty proxy."""
MAX_RECORDED_FAULTS = 3
"""Further faults of checks are not saved: each save costs a write and tells nothing new."""
MIN_PROGRESS = 0.05
"""Smaller steps of progress are not saved."""
MAX_WORKER_ERRORS = 5
DEADLINE_EXCEEDED = Failure(code=DeadlineExceeded.code, message=DeadlineExceeded.default_message)
WORKERS_LOST = Failure(
    code=ErrorCode.LLM_CONNECTION_LOST, message="The connection to the LLM was lost as often as may be paid for."
)
BROKEN = Failure(code=ErrorCode.INTERNAL, message="The run could not be processed, however often it was tried.")


# --- what is observed of the LLM; an LlmUnavailable or LlmRefused is an observation too ---


class JobCreated(Struct, frozen=True, kw_only=True):
    """The LLM created a provider job. `plan` is when to ask for it, as a run keeps it."""

    provider_job_id: str
    plan: tuple[int, ...] = ()


class Running(Struct, frozen=True, kw_only=True):
    """The provider job is queued or at work; `progress` is from 0 to 1."""

    progress: float | None = None
    eta: timedelta | None = None


class Finished(Struct, frozen=True, kw_only=True):
    """The LLM delivered."""

    result: Result
    usage: Usage = Usage()


OnText = Callable[[str], None]
"""Takes the next piece of an answer, when the LLM has written it. It is called in the event loop."""
Observation = JobCreated | Running | Finished | LlmUnavailable | LlmRefused


# --- what to do ---


class Nothing(Struct, frozen=True):
    """The run has ended."""


class Start(Struct, frozen=True):
    """Claim the run and send it to the LLM."""


class Check(Struct, frozen=True):
    """Ask the LLM about the provider job."""


class CheckLater(Struct, frozen=True, kw_only=True):
    """Look again after `delay`. `changed` is the run to save first, None when there is nothing new to save."""

    delay: timedelta
    changed: Run | None = None


class Complete(Struct, frozen=True, kw_only=True):
    """Save the result. `attempts` replaces the run's attempts; None for the end of the last one with this usage."""

    result: Result
    usage: Usage
    attempts: tuple[Attempt, ...] | None = None
    leaves_job: bool = False
    """Whether a provider job may still be at work, whose result nobody awaits."""


class Retry(Struct, frozen=True, kw_only=True):
    """Start again after `delay`. `changed` is the run to save first."""

    delay: timedelta
    changed: Run


class Fail(Struct, frozen=True, kw_only=True):
    """Save the error. `may_be_billed` tells of the attempt under way; None keeps what is recorded of it."""

    error: Failure
    may_be_billed: bool | None = None


NextStep = Nothing | Start | Check | CheckLater | Complete | Fail
Consequence = Nothing | CheckLater | Complete | Retry | Fail


def next_step(run: Run, now: datetime) -> NextStep:
    """Returns what a worker does with the run when nothing is known but the run itself."""
    if run.is_terminal:
        return Nothing()
    if run.provider_job_id is not None:
        return Check()
    if has_answer_in_hand(run) and now >= run.deadline_at:
        return first_answer(run, now)
    if now >= run.deadline_at:
        return Fail(error=DEADLINE_EXCEEDED)
    if run.due_at is not None and now < run.due_at - CLOCK_SKEW and not _is_free(run):
        return CheckLater(delay=run.due_at - now)
    if has_answer_in_hand(run) and has_tried_repair(run):
        return first_answer(run, now, LlmUnavailable(code=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=True))
    if run.billed_attempts >= run.max_attempts and not run.resumes_attempt:
        return Fail(error=WORKERS_LOST)
    return Start()


def _is_free(run: Run) -> bool:
    """Returns whether neither a worker's lease nor the pause after an error keeps other workers from the run."""
    return run.status is Status.PENDING or run.waiting_for in (Wait.ROOM, Wait.WORKER)


def first_answer(run: Run, now: datetime, observed: Observation | None = None, *, leaves_job: bool = False) -> Complete:
    """Completes the run with the answer in hand, after a repair that brought none."""
    assert run.result is not None
    attempts = ended_repair(run, now, observed)
    return Complete(result=run.result, usage=run.usage, attempts=attempts, leaves_job=leaves_job)


def consequence(run: Run, observed: Observation, now: datetime) -> Consequence:
    """Returns what follows from the observation.

    A result is taken even past the deadline; without one the deadline ends every open run. With an answer in hand no
    error fails the run.
    """
    step = _consequence(run, observed, now)
    if has_answer_in_hand(run) and isinstance(step, Fail | Retry):
        is_too_late = isinstance(step, Fail) and step.error == DEADLINE_EXCEEDED
        return first_answer(run, now, observed, leaves_job=is_too_late)
    return step


def _after_answer(run: Run, answer: Finished, now: datetime) -> Complete | Retry:
    """Checks the answer. The first one may be sent back to be repaired; of two answers the better one is taken."""
    checked = with_checks(run, answer.result)
    if run.result is not None:
        attempts = with_last(run.attempts, now, outcome=Outcome.COMPLETED, cost_usd=answer.usage.cost_usd)
        usage = total_usage(run.usage, answer.usage)
        return Complete(result=better_answer(run.result, answer.result, checked), usage=usage, attempts=attempts)
    if wants_repair(run, answer.result, checked, now):
        return Retry(delay=timedelta(0), changed=with_answer_in_hand(run, now, result=checked, usage=answer.usage))
    return Complete(result=checked, usage=answer.usage)


def _consequence(run: Run, observed: Observation, now: datetime) -> Consequence:
    if run.is_terminal:
        return Nothing()
    match observed:
        case Finished(result=result):
            return _after_answer(run, replace(observed, result=fallback.answered_by(run, result)), now)
        case LlmRefused():
            moved = fallback.after_call(run, observed, now, delay=timedelta(0))
            if moved is not None:
                return _go_elsewhere(moved, now)
            error = Failure(code=observed.code, message=observed.message)
            return Fail(error=error, may_be_billed=observed.may_be_billed or run.provider_job_id is not None)
        case _ if now >= run.deadline_at:
            return Fail(error=DEADLINE_EXCEEDED)
        case LlmUnavailable():
            return _after_fault(run, observed, now)
        case JobCreated(provider_job_id=provider_job_id, plan=plan):
            created = run.with_provider_job(now, provider_job_id=provider_job_id, plan=plan)
            return CheckLater(delay=until_next_check(created, now), changed=created)
        case Running():
            return _while_running(run, observed, now)


def _while_running(run: Run, observed: Running, now: datetime) -> CheckLater:
    delay = until_next_check(run, now, eta=_eta(run, observed, now))
    is_news = run.faults > 0 or _has_moved(run.progress, observed.progress)
    return CheckLater(delay=delay, changed=run.progressed(now, progress=observed.progress) if is_news else None)


def _after_fault(run: Run, fault: LlmUnavailable, now: datetime) -> CheckLater | Retry | Fail:
    """Without a provider job the run starts again, with growing gaps. A provider job is only ever checked."""
    repeats = run.repeats + 1 if run.trouble == fault.code else 1
    failure = Failure(code=fault.code, message=fault.message)
    if fault.code == ErrorCode.LLM_UNREADABLE and repeats >= MAX_UNREADABLE:
        return Fail(error=failure, may_be_billed=True)
    delay = min(_backoff(max(run.faults, run.attempt - 1), fault.retry_after), run.deadline_at - now)
    moved = fallback.after_call(run, fault, now, delay=delay)
    if moved is not None:
        return _go_elsewhere(moved, now)
    if run.provider_job_id is None:
        changed = run.with_fault(now, reason=fault.code, delay=delay, may_be_billed=fault.may_be_billed)
        is_last = changed.billed_attempts >= run.max_attempts and not changed.resumes_attempt
        return (
            Fail(error=failure, may_be_billed=fault.may_be_billed) if is_last else Retry(delay=delay, changed=changed)
        )
    if fault.code == ErrorCode.LLM_JOB_FAILED:
        if run.billed_attempts >= run.max_attempts:
            return Fail(error=failure)
        return Retry(delay=delay, changed=run.restarted(now, reason=fault.code, delay=delay))
    if fault.code == ErrorCode.LLM_JOB_UNKNOWN and repeats >= MAX_UNKNOWN:
        return Fail(error=Failure(code=fault.code, message="The LLM no longer knows this job."))
    delay = max(until_next_check(run, now), min(fault.retry_after or timedelta(0), MAX_RETRY))
    is_counted = fault.code in (ErrorCode.LLM_UNREADABLE, ErrorCode.LLM_JOB_UNKNOWN)
    if run.faults >= MAX_RECORDED_FAULTS and not is_counted:
        return CheckLater(delay=delay)
    changed = run.with_fault(now, reason=fault.code, delay=delay, may_be_billed=True)
    return CheckLater(delay=delay, changed=changed)


def _go_elsewhere(moved: Run, now: datetime) -> Retry:
    """Starts the run at its next target, when it is due there."""
    return Retry(delay=(moved.due_at or now) - now, changed=moved)


def _eta(run: Run, observed: Running, now: datetime) -> timedelta | None:
    """Returns the LLM's estimate of the time left, or what follows from its progress so far."""
    if observed.eta is not None or run.sent_at is None or not observed.progress or observed.progress < MIN_PROGRESS:
        return observed.eta
    return (now - run.sent_at) * (1 / min(observed.progress, 1.0) - 1)


def plan_of(run: Run) -> RecheckPlan:
    """Returns the plan of the re-checks of the run's provider job."""
    return RecheckPlan(chosen=run.plan, service=run.service)


def until_next_check(run: Run, now: datetime, *, eta: timedelta | None = None) -> timedelta:
    """Returns the time until the next planned check, at most until the deadline, when a last check is due."""
    assert run.sent_at is not None
    planned = recheck_time(run.sent_at, plan_of(run).next_offset(now - run.sent_at, eta=eta))
    return max(min(planned, run.deadline_at) - now, timedelta(0))


def recheck_of(run: Run, at: datetime, *, checks: int) -> Recheck:
    """Returns the re-check of that time; the same time of the same attempt has the same name, whoever asks for it."""
    if run.provider_job_id is not None and run.sent_at is not None:
        sequence = str(round((at - run.sent_at).total_seconds()))
    else:
        sequence = f"start-{round((run.due_at or at).timestamp() * 1000)}"
        checks = 0
    return Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence, checks=checks)


def _has_moved(before: float | None, after: float | None) -> bool:
    return after is not None and after - (before or 0.0) >= MIN_PROGRESS


def _backoff(faults: int, retry_after: timedelta | None) -> timedelta:
    """Returns 1, 2, 4, … 60 seconds, or the time that the LLM server asks for when that is longer."""
    exponential: timedelta = FIRST_RETRY * 2 ** min(faults, 10)
    return max(min(exponential, MAX_RETRY), retry_after or timedelta(0))
