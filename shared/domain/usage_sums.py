"""Sums what the runs of a tenant have used, by day, user, model and deployment."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.budget import cost, day_of
from shared.domain.money import to_usd
from shared.domain.run import Run
from shared.domain.status import Status

RETENTION = timedelta(days=400)
"""How long sums and budgets are kept after the day or month that they belong to."""


class GroupBy(StrEnum):
    """Names the property by which a report of usage groups its items."""

    DAY = "day"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    USER = "user"


class UsageKey(Struct, frozen=True, kw_only=True):
    """Identifies one sum. `user` is None for users that have been forgotten."""

    day: str
    """UTC, such as 2026-03-14."""
    user: str | None
    model: str | None
    deployment: str | None


class UsageSum(Struct, frozen=True, kw_only=True):
    """Counts runs that have ended, `failed` among them, and sums what they used; `cost` is in nano-USD."""

    runs: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0

    def __add__(self, other: "UsageSum") -> "UsageSum":
        return UsageSum(**{name: getattr(self, name) + getattr(other, name) for name in SUM_NAMES})


SUM_NAMES = UsageSum.__struct_fields__


class UsageReport(Struct, frozen=True, kw_only=True):
    """One sum for each key of a grouping, and the sum of all."""

    total: UsageSum
    items: Sequence[tuple[str | None, UsageSum]]


def usage_key(run: Run) -> UsageKey:
    model = run.model.id if run.model else None
    return UsageKey(day=day_of(run), user=run.user_id, model=model, deployment=run.deployment)


def usage_of(run: Run) -> UsageSum:
    """Returns what one run that has ended adds to its sums."""
    return UsageSum(
        runs=1,
        failed=int(run.status is Status.FAILED),
        input_tokens=run.usage.input_tokens,
        output_tokens=run.usage.output_tokens,
        cost=cost(run),
    )


def report(sums: Iterable[tuple[UsageKey, UsageSum]], group_by: GroupBy) -> UsageReport:
    """Returns the sums by group, ordered by key; the group without a key comes first."""
    groups: dict[str | None, UsageSum] = {}
    total = UsageSum()
    for key, one in sums:
        name = getattr(key, group_by)
        groups[name] = groups.get(name, UsageSum()) + one
        total += one
    return UsageReport(total=total, items=sorted(groups.items(), key=lambda item: (item[0] is not None, item[0] or "")))


def report_object(shown: UsageReport) -> dict[str, Any]:
    """Returns the JSON object of a report: {total, items: [{key, ...}]}."""
    items = [{"key": key, **_sum_object(one)} for key, one in shown.items]
    return {"total": _sum_object(shown.total), "items": items}


def exported_sums(sums: Iterable[tuple[UsageKey, UsageSum]]) -> list[dict[str, Any]]:
    """Returns the sums of one user as JSON objects, {day, model, deployment, runs, ...}, ordered by day."""
    by_key: dict[tuple[str, str, str], UsageSum] = {}
    for key, one in sums:
        names = (key.day, key.model or "", key.deployment or "")
        by_key[names] = by_key.get(names, UsageSum()) + one
    return [
        {"day": day, "model": model or None, "deployment": deployment or None, **_sum_object(one)}
        for (day, model, deployment), one in sorted(by_key.items())
    ]


def _sum_object(one: UsageSum) -> dict[str, Any]:
    return {
        "runs": one.runs,
        "failed": one.failed,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "cost_usd": to_usd(one.cost),
    }
