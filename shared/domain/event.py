"""Defines the lines of a run's history, which is audit trail, stream and resume log at once."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

MAX_EVENTS = 100


class EventType(StrEnum):
    """One type for each line of a run's history."""

    QUEUED = "run.queued"
    """The run was accepted."""
    STARTED = "run.started"
    """A worker claimed the run for the first time."""
    PROGRESS = "run.progress"
    """The LLM reported progress; detail: {progress: 0 to 1}. Or it wrote text; detail: {delta, offset, attempt}."""
    RETRYING = "run.retrying"
    """The LLM could not be asked; detail: {reason: error code, delay_seconds, model? or deployment?: the fallback}."""
    COMPLETED = "run.completed"
    """The run has a result."""
    FAILED = "run.failed"
    """The run has an error; detail: {code: error code}."""
    CANCELLED = "run.cancelled"
    """The owner stopped the run."""
    LATE_RESULT = "run.late_result"
    """The LLM delivered a result after the cancel; clients do not see this event."""


DELTA = "delta"
"""The name of new text in an event's detail (see delta.py)."""
_DROPPABLE = frozenset({EventType.PROGRESS, EventType.RETRYING, EventType.LATE_RESULT})


class Event(Struct, frozen=True, kw_only=True):
    """One line of a run's history. `sequence` counts from 1 within its run.

    `type` is an EventType; it stays a str so that documents of later releases can be read.
    """

    sequence: int
    type: str
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)


def with_event(events: tuple[Event, ...], kind: EventType, now: datetime, **detail: Any) -> tuple[Event, ...]:
    """Appends an event. Above MAX_EVENTS the oldest progress or retry goes; beginning and end of the history stay.

    Deltas stay too: there are less than MAX_EVENTS of them, and a text without its beginning would be of no use.
    """
    sequence = events[-1].sequence + 1 if events else 1
    longer = (*events, Event(sequence=sequence, type=kind, at=now, detail=detail))
    if len(longer) <= MAX_EVENTS:
        return longer
    drop = next(i for i, event in enumerate(longer) if event.type in _DROPPABLE and DELTA not in event.detail)
    return longer[:drop] + longer[drop + 1 :]


def without_deltas(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Returns the other events with their sequences, so that a stream also resumes behind a dropped delta."""
    return tuple(event for event in events if DELTA not in event.detail)
