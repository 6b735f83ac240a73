"""Defines a message that could not be handled, and reads which run it names."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from shared.domain.fields import read_uuid
from shared.domain.json_text import from_text
from shared.errors import InvalidRequest


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A kept message. `source` is the subscription or function that it comes from; both name it together."""

    source: str
    message_id: str
    reason: str
    data: str
    attributes: Mapping[str, str]
    kept_at: datetime

    @property
    def run_id(self) -> str | None:
        """Returns the id of the run that the message names; None when it names none."""
        named = named_run(self.data, self.attributes)
        try:
            return read_uuid("run_id", named) if isinstance(named, str) else None
        except InvalidRequest:
            return None


def named_run(data: str, attributes: Mapping[str, str]) -> Any:
    """Returns what should be the run's id: in data {"run_id": …}, the data itself, or the attribute run_id."""
    try:
        body = from_text(data)
    except (ValueError, RecursionError):
        body = data.strip()
    named = body.get("run_id") if isinstance(body, dict) else body
    return named if isinstance(named, str) and named else attributes.get("run_id")
