"""Named streams of updates: whose a channel is, and how far somebody has read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.domain.directory import Profile
from shared.domain.run import Event, Run
from shared.errors import ChannelNotFound

OVERLAP = timedelta(seconds=30)
"""What is written first may become visible last: an event's time is taken before what it tells is done and saved."""
RESUMABLE_FOR = timedelta(hours=24)
MAX_AHEAD = 1000
"""Beyond them an event may be given twice, never not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A named stream of updates; of one tenant, or, for a name that is unique by itself, of any."""

    name: str
    tenant_id: str | None = None


def channel_for(caller: Profile, name: str) -> Channel:
    """`user:{own id}`, `org:{own organization}`, or any other name within it. Raises ChannelNotFound."""
    kind, _, owner = name.partition(":")
    if not name.strip():
        raise ChannelNotFound
    own = {"user": caller.user_id, "org": caller.organization_id}
    if kind not in own or ":" not in name:
        return Channel(name=name, tenant_id=caller.organization_id)
    if owner != own[kind]:
        raise ChannelNotFound
    return Channel(name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDelivered:
    """The last event of a run that somebody was given."""

    sequence: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCursor:
    """How far a channel was read: all events up to `before`, and of some runs a little ahead."""

    before: datetime
    ahead: Mapping[str, LastDelivered] = field(default_factory=dict)
    """By a short form of the run's id, the one that was seen longest ago first."""

    def is_new(self, run: Run, event: Event) -> bool:
        given = self.ahead.get(short_id(run.id))
        return event.sequence > given.sequence if given else event.at > self.before

    def advanced(self, run: Run, event: Event, *, opened_at: datetime) -> "ChannelCursor":
        """The place once this event was given, on a stream that was opened then.

        What was missed before comes run by run, not event by event, and so `before` stays until that is over.
        """
        caught_up = event.at - OVERLAP >= opened_at
        before = max(self.before, event.at - OVERLAP) if caught_up else self.before
        own = short_id(run.id)
        kept = [(name, given) for name, given in self.ahead.items() if name != own and given.at > before]
        ahead = dict([*kept[-MAX_AHEAD + 1 :], (own, LastDelivered(sequence=event.sequence, at=event.at))])
        return ChannelCursor(before=before, ahead=ahead)


def short_id(run_id: str) -> str:
    """Enough of it to tell a channel's runs apart, as an update's id carries a hundred of them."""
    return run_id[-12:]
