"""Parses server-sent events, in which LLMs send an answer while they write it.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from dataclasses import dataclass

MAX_EVENT_BYTES = 1024 * 1024


class EventTooLarge(ValueError):
    """An event has more than MAX_EVENT_BYTES."""


@dataclass(slots=True)
class EventStreamParser:
    """Collects bytes into lines and lines into events. Lines end with LF or CRLF; only the field `data` is read."""

    _unfinished: bytes = b""
    """The beginning of a line whose end has not arrived."""
    _data: bytes = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Returns the data of each event that ends in this chunk. Raises EventTooLarge."""
        *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
        events = [event for line in lines if (event := self._take_line(line.removesuffix(b"\r"))) is not None]
        if len(self._unfinished) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return events

    def _take_line(self, line: bytes) -> str | None:
        if line.startswith(b"data:"):
            self._data += line.removeprefix(b"data:").removeprefix(b" ") + b"\n"
            if len(self._data) > MAX_EVENT_BYTES:
                raise EventTooLarge
        elif not line and self._data:
            data, self._data = self._data, b""
            return data.decode(errors="replace").removesuffix("\n")
        return None
