"""What to do next with a run: a pure function of the run, what was just observed of the LLM, and the time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.recheck_plan import CLOCK_SKEW, next_offset, recheck_time
from shared.domain.result import Result, Usage
from shared.domain.run import Failure, Run, Status
from shared.errors import DeadlineExceeded, LlmRefused, LlmUnavailable

FIRST_RETRY = timedelta(seconds=1)
MAX_RETRY = timedelta(seconds=60)
MAX_UNREADABLE = 5
MAX_RECORDED_FAULTS = 3
MAX_UNKNOWN = 5
"""One odd answer ends no run: a job may be unknown for a moment after it was taken, or behind a bad proxy."""
MIN_PROGRESS = 0.05


# --- what may be observed of the LLM; an LlmUnavailable or LlmRefused may be observed as well ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    provider_job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    progress: float | None = None
    eta: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    result: Result
    usage: Usage = Usage()


Observation = Accepted | Running | Finished | LlmUnavailable | LlmRefused | None


# --- what to do ---


@dataclass(frozen=True, slots=True)
class Nothing:
    """The run is complete."""


@dataclass(frozen=True, slots=True)
class Start:
    """Claim the run and send it to the LLM."""


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the LLM about the provider job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLater:
    """Look again after `delay`; `changed` is the run to save first, None when nothing was learnt."""

    delay: timedelta
    changed: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    result: Result
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Start again after `delay`; `changed` is the run to save first."""

    delay: timedelta
    changed: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    error: Failure


Step = Nothing | Start | Check | CheckLater | Complete | Retry | Fail

DEADLINE_EXCEEDED = Failure(code=DeadlineExceeded.code, message=DeadlineExceeded.default_message)


def decide(run: Run, observed: Observation, now: datetime) -> Step:
    """A result that is there is always taken, even past the deadline; otherwise the deadline ends every open run."""
    if run.is_terminal:
        return Nothing()
    if isinstance(observed, Finished):
        return Complete(result=observed.result, usage=observed.usage)
    if observed is None:
        return _next_move(run, now)
    if isinstance(observed, LlmRefused):
        return Fail(error=Failure(code=observed.code, message=observed.message))
    if now >= run.deadline_at:
        return Fail(error=DEADLINE_EXCEEDED)
    if isinstance(observed, LlmUnavailable):
        return _after_trouble(run, observed, now)
    return _while_running(run, observed, now)


def _next_move(run: Run, now: datetime) -> Step:
    """What a run wants when nothing is known but the run itself."""
    if run.provider_job_id is not None:
        return Check()
    if now >= run.deadline_at:
        return Fail(error=DEADLINE_EXCEEDED)
    if run.status is Status.PENDING or run.due_at is None or now >= run.due_at - CLOCK_SKEW:
        return Start()
    return CheckLater(delay=run.due_at - now)


def _while_running(run: Run, observed: Accepted | Running, now: datetime) -> Step:
    if isinstance(observed, Accepted):
        accepted = run.accepted(now, provider_job_id=observed.provider_job_id)
        return CheckLater(delay=until_next_check(accepted, now), changed=accepted)
    delay = until_next_check(run, now, eta=observed.eta)
    news = run.faults > 0 or _moved(run.progress, observed.progress)
    return CheckLater(delay=delay, changed=run.progressed(now, progress=observed.progress) if news else None)


def _after_trouble(run: Run, trouble: LlmUnavailable, now: datetime) -> Step:
    """Without a provider job: try again with growing gaps. With one: it is only ever checked."""
    repeats = run.repeats + 1 if run.trouble == trouble.code else 1
    if trouble.code == "llm_unreadable" and repeats >= MAX_UNREADABLE:
        return Fail(error=Failure(code=trouble.code, message=trouble.message))
    delay = min(_backoff(max(run.faults, run.attempt - 1), trouble.retry_after), run.deadline_at - now)
    if run.provider_job_id is None:
        return Retry(delay=delay, changed=run.troubled(now, reason=trouble.code, delay=delay))
    if trouble.code == "llm_job_failed":
        return Retry(delay=delay, changed=run.restarted(now, reason=trouble.code, delay=delay))
    if trouble.code == "llm_job_unknown" and repeats >= MAX_UNKNOWN:
        return Fail(error=Failure(code=trouble.code, message="The LLM no longer knows this job."))
    delay = max(until_next_check(run, now), min(trouble.retry_after or timedelta(0), MAX_RETRY))
    told = run.faults >= MAX_RECORDED_FAULTS and trouble.code not in ("llm_unreadable", "llm_job_unknown")
    return CheckLater(delay=delay, changed=None if told else run.troubled(now, reason=trouble.code, delay=delay))


def until_next_check(run: Run, now: datetime, *, eta: timedelta | None = None) -> timedelta:
    """Never past the deadline, which wants a last check too."""
    assert run.sent_at is not None
    planned = recheck_time(run.sent_at, next_offset(now - run.sent_at, eta=eta))
    return max(min(planned, run.deadline_at) - now, timedelta(0))


def _moved(before: float | None, after: float | None) -> bool:
    return after is not None and after - (before or 0.0) >= MIN_PROGRESS


def _backoff(faults: int, retry_after: timedelta | None) -> timedelta:
    """1, 2, 4, … 60 seconds, or as long as the LLM asks for."""
    growing: timedelta = FIRST_RETRY * 2 ** min(faults, 10)
    return max(min(growing, MAX_RETRY), retry_after or timedelta(0))
