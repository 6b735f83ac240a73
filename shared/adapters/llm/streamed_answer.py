"""Puts the events of a streamed answer together to the body that the same call has without a stream.

So one function reads the answers of both forms.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from shared.adapters.llm.event_stream import EventStreamParser, EventTooLarge
from shared.adapters.llm.http import LlmResponse, raise_for_status, unreadable
from shared.adapters.llm.json_body import parse_json


class StreamedAnswer(ABC):
    """Implements AnswerReader. A protocol says what its events mean."""

    def __init__(self) -> None:
        self._parser = EventStreamParser()
        self.is_complete = False
        self.has_whole_text = False

    def feed(self, chunk: bytes) -> str:
        try:
            events = self._parser.feed(chunk)
        except EventTooLarge:
            raise unreadable() from None
        return "".join(self._take(data) for data in events)

    def _take(self, data: str) -> str:
        """Returns the new text of one event; events after the last one count no more."""
        if self.is_complete:
            return ""
        if data == "[DONE]":
            self.is_complete = self.has_whole_text = True
            return ""
        event = parse_json(data.encode())
        if not isinstance(event, dict):
            raise unreadable()
        try:
            return self.take_event(event)
        except (KeyError, IndexError, TypeError, AttributeError):
            raise unreadable() from None

    @abstractmethod
    def take_event(self, event: Mapping[str, Any]) -> str:
        """Returns the new text of this event. An event of another shape may raise KeyError, TypeError or the like."""

    @abstractmethod
    def body(self) -> Mapping[str, Any]:
        """Returns the body of the call without a stream."""


def raise_error(status: int, body: Mapping[str, Any]) -> None:
    """Raises the error that this body has when it comes with this status, instead of in a stream."""
    raise_for_status(LlmResponse(status=max(status, 400), body=body, retry_after=None), is_check=False)
