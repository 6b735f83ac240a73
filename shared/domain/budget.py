"""Defines the budget of an organization, and which runs still fit into it.

A run belongs to the UTC day and month of its acceptance. The commit that accepts it reserves what it may cost, and the
commit that ends it replaces the reservation by its cost. So the runs of a period never cost more than its budget.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from shared.domain.money import to_nano
from shared.errors import BudgetExhausted, ConfigurationError

if TYPE_CHECKING:
    from shared.domain.run import Run

DAY, MONTH = "day", "month"


class Budget(Struct, frozen=True, kw_only=True):
    """Limits what the runs of one tenant cost in a day and in a month, in nano-USD; None means no limit."""

    day: int | None = None
    month: int | None = None


class Balance(Struct, frozen=True, kw_only=True):
    """Counts what a day or a month has reserved for open runs, and what its ended runs have cost, in nano-USD."""

    reserved: int = 0
    spent: int = 0

    @property
    def used(self) -> int:
        return max(self.reserved, 0) + max(self.spent, 0)


NOTHING_USED = Balance()


def read_budget(document: Mapping[str, Any] | None) -> Budget | None:
    """Reads {day_usd?, month_usd?} of an organization's record. Raises ConfigurationError."""
    if not document:
        return None
    try:
        day, month = (_limit(document.get(name)) for name in ("day_usd", "month_usd"))
    except (ValueError, ArithmeticError, AttributeError):
        raise ConfigurationError("The budget of your organization is wrong; ask your administrator.") from None
    return None if day is None and month is None else Budget(day=day, month=month)


def _limit(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError
    return to_nano(value)


def day_of(run: "Run") -> str:
    """Returns the UTC day that the run counts in, such as 2026-03-14."""
    return run.created_at.date().isoformat()


def month_of(run: "Run") -> str:
    """Returns the UTC month that the run counts in, such as 2026-03."""
    return day_of(run)[:7]


def reservation(run: "Run") -> int:
    """Returns what the run reserves while it is open, in nano-USD."""
    return to_nano(run.bill.reserved_usd) if run.bill.reserved_usd is not None else 0


def cost(run: "Run") -> int:
    """Returns what a run that has ended has cost, in nano-USD; 0 when it has no prices."""
    return to_nano(run.usage.cost_usd) if run.usage.cost_usd is not None else 0


def require_room(budget: Budget, run: "Run", *, day: Balance, month: Balance) -> None:
    """Raises BudgetExhausted when the run's reservation does not fit into what its day and its month have left."""
    amount = reservation(run)
    if amount == 0:
        return
    for period, limit, balance in ((MONTH, budget.month, month), (DAY, budget.day, day)):
        if limit is not None and balance.used + amount > limit:
            raise _exhausted(period, run.created_at)


def renewal_of_day(now: datetime) -> datetime:
    """Returns the next midnight in UTC; `now` is in UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def renewal_of_month(now: datetime) -> datetime:
    """Returns the beginning of the next month in UTC; `now` is in UTC."""
    midnight = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=32)).replace(day=1)


def _exhausted(period: str, now: datetime) -> BudgetExhausted:
    renewal = renewal_of_month(now) if period == MONTH else renewal_of_day(now)
    return BudgetExhausted(
        f"What is left of your organization's budget for this {period} does not cover this run; "
        f"the budget renews on {renewal:%Y-%m-%d} at 00:00 UTC.",
        retry_after=renewal - now,
    )
