"""Limits on the submits of a user and on the open runs of an organization, and the errors that report them."""

from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.budget import Budget
from shared.error_codes import ErrorCode
from shared.errors import TooManyRuns

WINDOW = timedelta(minutes=1)
OPEN_RUNS_RETRY_AFTER = timedelta(seconds=5)
"""A guess: the end of any open run frees a place, and nobody knows when that is."""


class Limits(Struct, frozen=True, kw_only=True):
    """`submits_a_minute` limits the submits of one user in each minute of the clock; `open_runs` limits the runs of
    one tenant that are open at the same time; `budget` limits what the runs of one tenant cost. None means no limit.
    """

    submits_a_minute: int | None = None
    open_runs: int | None = None
    budget: Budget | None = None


NO_LIMITS = Limits()


def minute_of(moment: datetime) -> datetime:
    """Returns the start of the clock's minute, which is the window that a submit at `moment` counts in."""
    return moment.replace(second=0, microsecond=0)


def too_many_submits(maximum: int, now: datetime) -> TooManyRuns:
    """Returns the error for a submit above `maximum`; its `retry_after` is the time until the next minute starts."""
    return TooManyRuns(
        f"You may submit {maximum} runs a minute; try again in the next one.",
        code=ErrorCode.TOO_MANY_SUBMITS,
        limit="submits",
        maximum=maximum,
        window=WINDOW,
        retry_after=minute_of(now) + WINDOW - now,
    )


def too_many_open_runs(maximum: int) -> TooManyRuns:
    """Returns the error for a submit by a tenant that already has `maximum` open runs."""
    return TooManyRuns(
        f"Your organization has {maximum} open runs, as many as it may; try again when one has ended.",
        code=ErrorCode.TOO_MANY_OPEN_RUNS,
        limit="open-runs",
        maximum=maximum,
        window=None,
        retry_after=OPEN_RUNS_RETRY_AFTER,
    )
