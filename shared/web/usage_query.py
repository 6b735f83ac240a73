"""Reads which report of usage a request asks for."""

from collections.abc import Mapping
from datetime import date

from shared.domain.fields import Fields
from shared.domain.usage_sums import GroupBy
from shared.errors import InvalidRequest
from shared.usecases.usage import UsageQuery

FIRST_DAY = date(2000, 1, 1)


def usage_query(parameters: Mapping[str, str]) -> UsageQuery:
    """Reads {from?, to?, group_by?} of a URL query; days are such as 2026-03-14, in UTC. Raises InvalidRequest."""
    fields = Fields({name: text for name, text in parameters.items() if text})
    first, last = _day(fields, "from"), _day(fields, "to")
    group_by = fields.optional_choice("group_by", tuple(GroupBy)) or GroupBy.DAY
    if first is not None and last is not None and first > last:
        raise InvalidRequest("from is later than to", field="from")
    return UsageQuery(first=first, last=last, group_by=GroupBy(group_by))


def _day(fields: Fields, name: str) -> date | None:
    text = fields.optional_text(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.isoformat() == text and day >= FIRST_DAY:
        return day
    raise InvalidRequest(f"{name} must be a day such as 2026-03-14, from {FIRST_DAY} on", field=name)
