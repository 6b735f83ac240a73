"""Shows users how their runs, and administrators how those of their organization went: over time and by group."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from msgspec import Struct

from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.domain.status import Status
from shared.domain.tally import Tally, tally_of, total
from shared.domain.usage_sums import UsageKey, usage_key
from shared.ports import Accepted, Clock, RunPosition, RunReports, UsageSums

MAX_READ = 1000
"""How many runs the overview of a day reads. Those of a week and a month are made of sums."""
PAGE = 250
MAX_SEARCHED = 500
"""How many runs one page of a list may look at, to find those that fit."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Scope(StrEnum):
    """Names whose runs are meant."""

    OWN = "own"
    ORGANIZATION = "organization"


class Span(StrEnum):
    """Names the time up to now that an overview shows: a day by the hour, a week and a month by the UTC day."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_DAYS = {Span.WEEK: 7, Span.MONTH: 30}


class Point(Struct, frozen=True, kw_only=True):
    since: datetime
    until: datetime
    tally: Tally


class Overview(Struct, frozen=True, kw_only=True):
    """Counts runs that have ended, by the time of their acceptance. The name None stands for runs without one."""

    points: Sequence[Point]
    models: Sequence[tuple[str | None, Tally]]
    deployments: Sequence[tuple[str | None, Tally]]
    is_whole: bool
    """False when there were more than MAX_READ runs; then the oldest are not counted."""

    @property
    def total(self) -> Tally:
        return total(point.tally for point in self.points)


class Search(Struct, frozen=True, kw_only=True):
    """Selects runs; a field that is None selects all values."""

    scope: Scope
    since: datetime
    until: datetime
    status: Status | None = None
    model: str | None = None
    deployment: str | None = None
    error: str | None = None

    def fits(self, run: Run) -> bool:
        return (
            self.model in (None, run.model.id if run.model else "")
            and self.deployment in (None, run.deployment or "")
            and (self.error is None or (run.error is not None and run.error.code == self.error))
        )


class Found(Struct, frozen=True, kw_only=True):
    runs: Sequence[Run]
    next_cursor: RunPosition | None
    """From where the search goes on; None when it is at its end. A page may have no run and a cursor."""


class ReadOverview(Struct, frozen=True, kw_only=True):
    reports: RunReports
    usage: UsageSums
    clock: Clock

    async def __call__(self, caller: Profile, scope: Scope, span: Span) -> Overview:
        """Returns the overview of the caller's runs, or with the scope organization of all runs of the tenant."""
        return await (self._day(caller, scope) if span is Span.DAY else self._days(caller, scope, _DAYS[span]))

    async def runs(self, caller: Profile, wanted: Search, *, after: RunPosition | None, limit: int) -> Found:
        """Returns the newest runs that fit. It looks at MAX_SEARCHED runs at most, and tells where to go on."""
        accepted = _accepted(caller, wanted.scope, since=wanted.since, until=wanted.until, status=wanted.status)
        found: list[Run] = []
        for _ in range(MAX_SEARCHED // PAGE):
            page = await self.reports.accepted(accepted, after=after, limit=PAGE)
            fitting = [run for run in page.runs if wanted.fits(run)]
            if len(found) + len(fitting) > limit:
                found = (found + fitting)[:limit]
                return Found(runs=found, next_cursor=RunPosition(at=found[-1].created_at, run_id=found[-1].id))
            found += fitting
            if len(page.positions) < PAGE:
                return Found(runs=found, next_cursor=None)
            after = page.positions[-1]
        return Found(runs=found, next_cursor=after)

    async def _day(self, caller: Profile, scope: Scope) -> Overview:
        end = self.clock.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
        accepted = _accepted(caller, scope, since=end - DAY, until=end)
        runs, after, is_whole = list[Run](), None, False
        for _ in range(MAX_READ // PAGE):
            page = await self.reports.accepted(accepted, after=after, limit=PAGE)
            runs += [run for run in page.runs if run.is_terminal]
            if is_whole := len(page.positions) < PAGE:
                break
            after = page.positions[-1]
        tallies = [(run.created_at, usage_key(run), tally_of(run)) for run in runs]
        return _overview(tallies, since=end - DAY, step=HOUR, count=24, is_whole=is_whole)

    async def _days(self, caller: Profile, scope: Scope, count: int) -> Overview:
        last = self.clock.now().astimezone(UTC).date()
        first = last - (count - 1) * DAY
        user_id = caller.user_id if scope is Scope.OWN else None
        sums = await self.usage.tallies(caller.organization_id, first=first, last=last, user_id=user_id)
        tallies = [(_midnight(date.fromisoformat(key.day)), key, tally) for key, tally in sums]
        return _overview(tallies, since=_midnight(first), step=DAY, count=count, is_whole=True)


def _accepted(
    caller: Profile, scope: Scope, *, since: datetime, until: datetime, status: Status | None = None
) -> Accepted:
    owner = {"user_id": caller.user_id} if scope is Scope.OWN else {"tenant_id": caller.organization_id}
    return Accepted(since=since, until=until, status=status, **owner)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _overview(
    tallies: Sequence[tuple[datetime, UsageKey, Tally]], *, since: datetime, step: timedelta, count: int, is_whole: bool
) -> Overview:
    """Returns the overview of `count` points of the length `step`; `tallies` has (time, key, tally)."""
    by_point: list[list[Tally]] = [[] for _ in range(count)]
    for at, _, tally in tallies:
        by_point[(at - since) // step].append(tally)
    return Overview(
        points=[
            Point(since=since + number * step, until=since + (number + 1) * step, tally=total(members))
            for number, members in enumerate(by_point)
        ],
        models=_groups((key.model, tally) for _, key, tally in tallies),
        deployments=_groups((key.deployment, tally) for _, key, tally in tallies),
        is_whole=is_whole,
    )


def _groups(tallies: Iterable[tuple[str | None, Tally]]) -> list[tuple[str | None, Tally]]:
    """Returns one tally for each name, the one with the most runs first."""
    members: dict[str | None, list[Tally]] = {}
    for name, tally in tallies:
        members.setdefault(name, []).append(tally)
    sums = [(name, total(group)) for name, group in members.items()]
    return sorted(sums, key=lambda item: (-item[1].runs, item[0] or ""))
