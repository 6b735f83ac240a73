"""Keeps the beginning of an answer that the LLM still writes, as events with a `delta` of new text each.

The deltas of an attempt follow one another without a gap, so a client that joins late reads the same text. They are
dropped when the run has a result, which holds the text.
"""

from datetime import datetime, timedelta

from shared.domain.event import DELTA, Event, EventType, with_event, without_deltas
from shared.domain.frozen import replace
from shared.domain.run import Run

OFFSET = "offset"
"""The name in an event's detail of how many characters of the answer come before its delta."""
MAX_DELTAS = 60
"""Of one attempt. With the gaps of `next_gap` they suffice for a call of twenty minutes."""
MAX_TEXT_BYTES = 64 * 1024
"""All deltas together. The document of a run, which each save writes and each listener gets, stays small."""
MIN_GAP = timedelta(seconds=1)
"""Firestore sustains about one write per second to one document.

https://firebase.google.com/docs/firestore/best-practices
"""
GAP_SHARE = 0.1


def wrote(run: Run, now: datetime, *, text: str) -> Run:
    """Records `text`, the beginning of the answer that the LLM writes in the run's last attempt."""
    return replace(run, updated_at=now, events=with_text(run.events, now, attempt=run.attempts[-1].number, text=text))


def with_text(events: tuple[Event, ...], now: datetime, *, attempt: int, text: str) -> tuple[Event, ...]:
    """Appends what `text`, the answer so far, has beyond the deltas of this attempt; nothing when they are at a limit.

    The first delta of an attempt has the `offset` 0 and replaces those of the attempt before, which was given up.
    """
    mine = [event for event in events if DELTA in event.detail and event.detail["attempt"] == attempt]
    offset = sum(len(event.detail[DELTA]) for event in mine)
    delta = _within_limit(text)[offset:]
    if not delta or len(mine) >= MAX_DELTAS:
        return events
    longer = with_event(events, EventType.PROGRESS, now, attempt=attempt, **{OFFSET: offset, DELTA: delta})
    return longer if mine else (*without_deltas(longer[:-1]), longer[-1])


def next_gap(writing: timedelta) -> timedelta:
    """Returns how long the next save of text waits, when the LLM has been `writing` for so long."""
    return max(MIN_GAP, writing * GAP_SHARE)


def _within_limit(text: str) -> str:
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
