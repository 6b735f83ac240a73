"""How much a user may submit, and how much an organization may have open, at most."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.error_codes import ErrorCode
from shared.errors import TooManyRuns

WINDOW = timedelta(minutes=1)
OPEN_RUNS_PAUSE = timedelta(seconds=5)
"""When to ask again for a place that any run's end may free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`submits_a_minute` of one user, by the clock's minutes; `open_runs` of one tenant at once. None: no limit."""

    submits_a_minute: int | None = None
    open_runs: int | None = None


NO_LIMITS = Limits()


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def too_many_submits(maximum: int, now: datetime) -> TooManyRuns:
    return TooManyRuns(
        f"You may submit {maximum} runs a minute; try again in the next one.",
        code=ErrorCode.TOO_MANY_SUBMITS,
        limit="submits",
        maximum=maximum,
        window=WINDOW,
        retry_after=minute_of(now) + WINDOW - now,
    )


def too_many_open_runs(maximum: int) -> TooManyRuns:
    return TooManyRuns(
        f"Your organization has {maximum} open runs, as many as it may; try again when one has ended.",
        code=ErrorCode.TOO_MANY_OPEN_RUNS,
        limit="open-runs",
        maximum=maximum,
        window=None,
        retry_after=OPEN_RUNS_PAUSE,
    )
