"""Channels: named streams of updates, who may read them, and the cursor from which a stream of one resumes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.domain.directory import Profile
from shared.domain.event import Event
from shared.domain.run import Run
from shared.errors import ChannelNotFound

OVERLAP = timedelta(seconds=30)
"""How far behind the newest event a reader still looks for others. An event gets its time before it is saved, so events
of several runs may become visible in another order than that of their times."""
MAX_CURSOR_AGE = timedelta(hours=24)
MAX_TRACKED_RUNS = 1000
"""A cursor forgets the runs beyond this number. Their latest events may then be delivered twice, but never lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A named stream of updates. `tenant_id` is None for names that are unique by themselves (`user:…`, `org:…`);
    any other name is unique within its tenant.
    """

    name: str
    tenant_id: str | None = None


def channel_for(caller: Profile, name: str) -> Channel:
    """Returns `user:{own id}`, `org:{own organization}`, or the channel of any other name in the caller's organization.

    Raises ChannelNotFound for an empty name and for the `user:` or `org:` channel of others.
    """
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
    """Holds what a stream has delivered of a run: the `sequence` of its last event, and the latest time of its events.

    The latest event in the order of sequences may have an earlier time, since workers' clocks differ.
    """

    sequence: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCursor:
    """The position in a channel up to which a stream has delivered its events.

    All events up to the time `watermark` are delivered. Of events after it, those up to `last_delivered` of their run
    are delivered: {run key: LastDelivered}, in the order of delivery.
    """

    watermark: datetime
    last_delivered: Mapping[str, LastDelivered] = field(default_factory=dict)

    def is_undelivered(self, run: Run, event: Event) -> bool:
        """Returns True when the event of this run is behind the cursor, so that the stream still has to deliver it."""
        last = self.last_delivered.get(run_key(run.id))
        return event.sequence > last.sequence if last else event.at > self.watermark

    def after_delivery(self, run: Run, event: Event, *, opened_at: datetime) -> "ChannelCursor":
        """Returns the cursor after this event was delivered, on a stream that was opened at `opened_at`.

        The watermark follows OVERLAP behind the event. It stays while the stream delivers what happened before it was
        opened: those events come run by run, not in the order of time, so older ones of other runs may follow.
        """
        is_live = happens_live(event, opened_at=opened_at)
        watermark = max(self.watermark, event.at - OVERLAP) if is_live else self.watermark
        key = run_key(run.id)
        others = [(other, last) for other, last in self.last_delivered.items() if other != key and last.at > watermark]
        before = self.last_delivered.get(key)
        delivered = LastDelivered(sequence=event.sequence, at=max(event.at, before.at) if before else event.at)
        return ChannelCursor(
            watermark=watermark, last_delivered=dict([*others[-MAX_TRACKED_RUNS + 1 :], (key, delivered)])
        )


def happens_live(event: Event, *, opened_at: datetime) -> bool:
    """Returns True when the event is certainly later than all that a stream opened at `opened_at` found at first."""
    return event.at - OVERLAP >= opened_at


def run_key(run_id: str) -> str:
    """Returns the last 12 digits of a run's UUID: enough to tell the runs of a channel apart, short enough for an
    event's id, which holds hundreds of them.
    """
    return run_id[-12:]
