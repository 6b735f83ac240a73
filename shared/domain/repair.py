"""Decides about the one repair of a translation: a chat model is asked again with what the checks found in its answer.

The first answer is saved before the repair begins, as `result` of a run that is still processing. From then on every
end of the run but a cancel is a completion, with the better one of the two answers.
"""

from datetime import datetime
from typing import Any

from shared.domain.attempt import Attempt, Outcome, outcome_of, with_last, with_last_ended
from shared.domain.checks.finding import failed_checks
from shared.domain.frozen import replace
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.translation_prompt import is_instructed
from shared.errors import LlmRefused, LlmUnavailable

MAX_REPAIRED_CHARACTERS = 20_000
"""A longer answer is not repaired: it is far from the text, and perhaps too large to be stored."""


def wants_repair(run: Run, answer: Result, checked: Result, now: datetime) -> bool:
    """Returns whether the model is asked again after its first answer, `checked` by now."""
    may_repair = run.repairs > 0 and run.billed_attempts < run.max_attempts and now < run.deadline_at
    is_small = len(answer.text) <= MAX_REPAIRED_CHARACTERS
    return is_instructed(run) and may_repair and is_small and bool(failed_checks(checked.checks))


def has_answer_in_hand(run: Run) -> bool:
    """Returns whether the run has its first answer, and a repair is to come or under way."""
    return run.result is not None and not run.is_terminal


def with_answer_in_hand(run: Run, now: datetime, *, result: Result, usage: Usage) -> Run:
    """Records the first answer and its attempt; the repair is an attempt of its own, which any worker may begin."""
    return replace(
        run,
        result=result,
        usage=usage,
        repairs=run.repairs - 1,
        attempts=with_last(run.attempts, now, outcome=Outcome.COMPLETED, cost_usd=usage.cost_usd),
        attempt=run.attempt + 1,
        provider_job_id=None,
        sent_at=None,
        progress=None,
        faults=0,
        trouble=None,
        repeats=0,
        updated_at=now,
        due_at=now,
    )


def has_tried_repair(run: Run) -> bool:
    """Returns whether a worker has begun the repair; there is no second one, also when that worker is lost."""
    return run.attempts[-1].outcome != Outcome.COMPLETED


def better_answer(first: Result, answer: Result, checked: Result) -> Result:
    """Returns the second answer, `checked` by now, if fewer of its checks failed, else the first one."""
    is_better = len(failed_checks(checked.checks)) < len(failed_checks(first.checks))
    return replace(checked, repaired=True) if is_better and len(answer.text) <= MAX_REPAIRED_CHARACTERS else first


def ended_repair(run: Run, now: datetime, observed: Any = None) -> tuple[Attempt, ...]:
    """Returns the attempts after a repair without an answer; `observed` is the error that ended it, if there is one."""
    if not isinstance(observed, LlmUnavailable | LlmRefused):
        return with_last_ended(run.attempts, now, Outcome.CANCELLED)
    may_be_billed = observed.may_be_billed or run.provider_job_id is not None
    return with_last_ended(run.attempts, now, outcome_of(observed.code), may_be_billed)


def total_usage(first: Usage, second: Usage) -> Usage:
    """Returns the sums of both calls; durations are those of the first one."""
    return Usage(**{name: _total(name, first, second) for name in Usage.__struct_fields__})


def _total(name: str, first: Usage, second: Usage) -> Any:
    values = [value for value in (getattr(first, name), getattr(second, name)) if value is not None]
    if name.endswith("_seconds"):
        return values[0] if values else None
    return sum(values) if values else None
