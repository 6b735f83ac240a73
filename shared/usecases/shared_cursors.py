"""Computes each step of a channel's cursor once for all streams that stand at the same place."""

from datetime import datetime

from shared.domain.channel import ChannelCursor, happens_live
from shared.domain.event import Event
from shared.domain.run import Run

MAX_STEPS = 256


class SharedCursors:
    """Gives streams of a channel that have delivered the same events the same cursor object.

    Cursors of streams that opened at different times become equal 30 seconds after the last has caught up. From then
    on the next cursor, and whatever is made of it, can be found by the identity of the one before.
    """

    def __init__(self) -> None:
        self._steps: dict[tuple[int, str, int], tuple[ChannelCursor, ChannelCursor]] = {}
        """{(id of a cursor, run id, sequence): (that cursor, the next one)}; the entry keeps the cursor's id taken."""
        self._newest: dict[tuple[str, int], ChannelCursor] = {}

    def after_delivery(
        self, cursor: ChannelCursor, run: Run, event: Event, *, opened_at: datetime, live_since: datetime
    ) -> ChannelCursor:
        """Returns what `ChannelCursor.after_delivery` returns, or an equal cursor that another stream has."""
        if not happens_live(event, live_since=live_since):
            return cursor.after_delivery(run, event, opened_at=opened_at, live_since=live_since)
        event_key = (run.id, event.sequence)
        known = self._steps.get((id(cursor), *event_key))
        if known is not None:
            return known[1]
        step = cursor.after_delivery(run, event, opened_at=opened_at, live_since=live_since)
        newest = self._newest.get(event_key)
        if newest is None or newest != step:
            newest = self._newest[event_key] = step
        self._steps[id(cursor), *event_key] = (cursor, newest)
        if len(self._steps) > MAX_STEPS:
            del self._steps[next(iter(self._steps))]
        if len(self._newest) > MAX_STEPS:
            del self._newest[next(iter(self._newest))]
        return newest
