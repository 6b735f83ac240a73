"""Keeps with a run what Firestore has of it, so that a save sends the fields that have changed and no others."""

from collections.abc import Mapping
from datetime import datetime
from functools import total_ordering
from typing import Any


@total_ordering
class Revision:
    """The `revision` of a run: when Firestore's document was written last. Two of the same time are equal."""

    __slots__ = ("_document", "update_time")

    def __init__(self, update_time: datetime, document: Mapping[str, Any] | None = None) -> None:
        """`document` is the document of that time; None when it is not kept, so that a save sends all fields."""
        self.update_time = update_time
        self._document: Mapping[str, Any] = document or {}

    def changes(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fields whose values differ from those that Firestore has."""
        known = self._document
        return {
            name: value
            for name, value in document.items()
            if name not in known or _with_lists(known[name]) != _with_lists(value)
        }

    def followed_by(self, update_time: datetime, document: Mapping[str, Any]) -> "Revision":
        """Returns the revision after these fields were saved."""
        return Revision(update_time, {**self._document, **document})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Revision) and self.update_time == other.update_time

    def __lt__(self, other: "Revision") -> bool:
        return self.update_time < other.update_time

    def __hash__(self) -> int:
        return hash(self.update_time)


def _with_lists(value: Any) -> Any:
    """Returns the value with lists for its tuples, as Firestore returns them."""
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    if isinstance(value, dict):
        return {name: _with_lists(item) for name, item in value.items()}
    return value
