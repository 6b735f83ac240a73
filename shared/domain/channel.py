"""Channels: named streams of updates, who may read them, and the cursor from which a stream of one resumes."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from shared.domain.directory import Profile
from shared.domain.event import Event
from shared.domain.run import Run
from shared.errors import ChannelNotFound

OVERLAP = timedelta(seconds=30)
"""How far behind the newest event a reader still looks for others. An event gets its time before it is saved, so events
of several runs may become visible in another order than that of their times."""
MAX_TRACKED_RUNS = 1000
"""A cursor forgets the runs beyond this number. Their latest events may then be delivered twice, but never lost."""


class Channel(Struct, frozen=True, kw_only=True):
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


class LastDelivered(Struct, frozen=True, kw_only=True):
    """Holds what a stream has delivered of a run: the `sequence` of its last event, and when the run changed last.

    The latest event in the order of sequences may have an earlier time, since workers' clocks differ.
    """

    sequence: int
    at: datetime
    is_over: bool = False
    """The run has ended, and its last event is delivered."""


class ChannelCursor(Struct, frozen=True, kw_only=True):
    """The position in a channel up to which a stream has delivered its events.

    All events up to the time `watermark` are delivered. Of events after it, those up to `last_delivered` of their run
    are delivered: {run key: LastDelivered}, in the order of delivery.

    A stream that resumes long ago reads run by run, in the order in which they changed last. `read_to` tells how far
    it has come: runs that changed before are delivered whole.
    """

    watermark: datetime
    last_delivered: Mapping[str, LastDelivered] = field(default_factory=dict)
    read_to: datetime | None = None

    @property
    def since(self) -> datetime:
        """Returns from when on changes of runs have to be read."""
        return self.watermark if self.read_to is None else max(self.watermark, self.read_to - OVERLAP)

    def is_undelivered(self, run: Run, event: Event) -> bool:
        """Returns True when the event of this run is behind the cursor, so that the stream still has to deliver it."""
        last = self.last_delivered.get(run_key(run.id))
        return event.sequence > last.sequence if last else event.at > self.watermark

    def after_delivery(self, run: Run, event: Event, *, opened_at: datetime, live_since: datetime) -> "ChannelCursor":
        """Returns the cursor after this event was delivered, on a stream that was opened at `opened_at`.

        The stream delivers changes as they happen since `live_since`. Until then it was behind: it read what was there
        at first, its client read slowly, or its process stood still. The watermark follows OVERLAP behind the event. It
        stays while the stream delivers what happened before `live_since`: those events come run by run, not in the
        order of time, so older ones of other runs may follow.
        """
        is_live = happens_live(event, live_since=live_since)
        watermark = max(self.watermark, event.at - OVERLAP) if is_live else self.watermark
        read_to = self._read_to_after(run, watermark, opened_at=opened_at)
        settled = read_to - OVERLAP if read_to else watermark
        key = run_key(run.id)
        others = [
            (other, last)
            for other, last in self.last_delivered.items()
            if other != key and last.at > (max(watermark, settled) if last.is_over else watermark)
        ]
        before = self.last_delivered.get(key)
        at = max(event.at, run.updated_at, before.at if before else event.at)
        is_over = run.is_terminal and event.sequence == run.events[-1].sequence
        delivered = LastDelivered(sequence=event.sequence, at=at, is_over=is_over)
        tracked = dict([*others[-MAX_TRACKED_RUNS + 1 :], (key, delivered)])
        return ChannelCursor(watermark=watermark, last_delivered=tracked, read_to=read_to)

    def _read_to_after(self, run: Run, watermark: datetime, *, opened_at: datetime) -> datetime | None:
        """Returns the next `read_to`; None when the watermark is beyond it.

        Runs that changed in the last OVERLAP before the stream was opened may still come in another order.
        """
        reached = [self.read_to] if self.read_to else []
        if run.updated_at + OVERLAP <= opened_at:
            reached.append(run.updated_at)
        read_to = max(reached, default=watermark)
        return read_to if read_to > watermark else None


def happens_live(event: Event, *, live_since: datetime) -> bool:
    """Returns True when the event is certainly later than all that a stream was behind with until `live_since`."""
    return event.at - OVERLAP >= live_since


def run_key(run_id: str) -> str:
    """Returns the last 12 digits of a run's UUID: enough to tell the runs of a channel apart, short enough for an
    event's id, which holds hundreds of them.
    """
    return run_id[-12:]
