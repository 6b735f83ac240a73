"""Reports to an organization's administrators what its runs have used and cost."""

from dataclasses import dataclass
from datetime import date, timedelta

from shared.domain.directory import Profile
from shared.domain.usage_sums import GroupBy, UsageReport, report
from shared.ports import Clock, UsageSums

DEFAULT_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """The UTC days from `first` to `last`; None is the last DEFAULT_DAYS days up to `last`, and today."""

    first: date | None = None
    last: date | None = None
    group_by: GroupBy = GroupBy.DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadUsage:
    usage: UsageSums
    clock: Clock

    async def __call__(self, caller: Profile, query: UsageQuery) -> UsageReport:
        """Returns the sums of the caller's organization. They have the runs that its users submitted and that have
        ended, each on the UTC day of its acceptance.
        """
        last = query.last or self.clock.now().date()
        first = query.first or last - timedelta(days=DEFAULT_DAYS - 1)
        return report(await self.usage.sums(caller.organization_id, first=first, last=last), query.group_by)
