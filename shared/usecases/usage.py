"""Reports to an organization's administrators what its runs have used and cost."""

from datetime import date, timedelta

from msgspec import Struct

from shared.domain.directory import Profile
from shared.domain.usage_sums import GroupBy, UsageReport, report
from shared.ports import Clock, UsageSums

DEFAULT_DAYS = 30


class UsageQuery(Struct, frozen=True, kw_only=True):
    """The UTC days from `first` to `last`; None is the last DEFAULT_DAYS days up to `last`, and today."""

    first: date | None = None
    last: date | None = None
    group_by: GroupBy = GroupBy.DAY


class ReadUsage(Struct, frozen=True, kw_only=True):
    usage: UsageSums
    clock: Clock

    async def __call__(self, caller: Profile, query: UsageQuery) -> UsageReport:
        """Returns the sums of the caller's organization. They have the runs that its users submitted and that have
        ended, each on the UTC day of its acceptance.
        """
        last = query.last or self.clock.now().date()
        first = query.first or last - timedelta(days=DEFAULT_DAYS - 1)
        return report(await self.usage.sums(caller.organization_id, first=first, last=last), query.group_by)
