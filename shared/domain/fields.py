"""Reads the fields of a JSON object one by one and refuses, in one sentence that names the field, what does not fit."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from shared.errors import InvalidRequest

_LANGUAGE_TAG = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"
    r"(?:-(?P<script>[a-z]{4}))?"
    r"(?:-(?P<region>[a-z]{2}|\d{3}))?"
    r"(?P<variants>(?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*)"
    r"(?P<extensions>(?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*)"
    r"(?P<private>-x(?:-[a-z\d]{1,8})+)?",
    re.ASCII,
)
MAX_TAG_LENGTH = 64
MAX_DEPTH = 64


class Fields:
    """Every field must be read once, by one of the methods; `done` refuses what nobody read."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._read: set[str] = set()

    def done(self) -> None:
        for name in self._body:
            if name not in self._read:
                shown = name if re.fullmatch(r"\w{1,64}", name, re.ASCII) else None
                raise InvalidRequest(f"there is no field named {shown}" if shown else "unknown field", field=shown)

    def text(self, name: str, *, max_length: int | None = None) -> str:
        """Required: 1 to `longest` Unicode code points, not only white space."""
        value = self.optional_text(name, max_length=max_length)
        if value is None:
            raise InvalidRequest(f"{name} is required", field=name)
        return value

    def optional_text(self, name: str, *, max_length: int | None = None) -> str | None:
        value = self._take(name)
        if value is None:
            return None
        checked = self._string(name, value)
        if max_length is not None and len(checked) > max_length:
            raise InvalidRequest(f"{name} is longer than {max_length} characters", field=name)
        if not checked.strip():
            raise InvalidRequest(f"{name} is empty", field=name)
        return checked

    def optional_uuid(self, name: str) -> str | None:
        value = self._take(name)
        return None if value is None else read_uuid(name, self._string(name, value))

    def language(self, name: str) -> str:
        """Required: a BCP 47 language tag, normalised as RFC 5646 section 2.1.1 says (`en`, `pt-BR`, `zh-Hant-TW`)."""
        tag = normalised_tag(self.text(name, max_length=MAX_TAG_LENGTH))
        if tag is None:
            raise InvalidRequest(f"{name} is not a BCP 47 language tag such as en or pt-BR", field=name)
        return tag

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, max_length=255)
        if value not in choices:
            raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", field=name)
        return value

    def optional_choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.optional_text(name)
        if value is not None and value not in choices:
            raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", field=name)
        return value

    def strings(self, name: str, *, maximum: int, max_length: int = 255) -> tuple[str, ...]:
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise InvalidRequest(f"{name} must be a list of strings", field=name)
        if len(value) > maximum:
            raise InvalidRequest(f"{name} holds more than {maximum} entries", field=name)
        for entry in value:
            if not isinstance(entry, str) or not entry.strip() or len(writable(name, entry)) > max_length:
                raise InvalidRequest(f"{name} must hold strings of 1 to {max_length} characters", field=name)
        return tuple(value)

    def optional_whole_number(self, name: str, *, minimum: int, maximum: int | None = None) -> int | None:
        value = integral(self._take(name))
        if value is None:
            return None
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < minimum
            or (maximum is not None and value > maximum)
        ):
            bounds = f"of {minimum} or more" if maximum is None else f"from {minimum} to {maximum}"
            raise InvalidRequest(f"{name} must be a whole number {bounds}", field=name)
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self._take(name)
        if value is None:
            raise InvalidRequest(f"{name} is required", field=name)
        if not isinstance(value, dict):
            raise InvalidRequest(f"{name} must be an object", field=name)
        return value

    def raw(self, name: str) -> Any:
        return self._take(name)

    def _take(self, name: str) -> Any:
        self._read.add(name)
        return self._body.get(name)

    def _string(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} must be a string", field=name)
        return writable(name, value)


def integral(value: Any) -> Any:
    """JSON knows one kind of number: 2.0 is 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_deep(value: Any) -> bool:
    """Whether JSON is nested deeper than is of use: near Python's own limit it is read here and fails elsewhere."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(outer: Mapping[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, Mapping) else outer


def writable(name: str, value: str) -> str:
    """`value`, unless it holds half a character (an unpaired surrogate), which no UTF-8 store can keep."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} holds an unpaired surrogate", field=name) from None
    return value


def read_uuid(name: str, value: str) -> str:
    """The UUID in its usual form: lower case with hyphens."""
    try:
        canonical = str(UUID(value))
    except ValueError:
        canonical = ""
    if canonical != value.lower():
        raise InvalidRequest(f"{name} is not a UUID", field=name)
    return canonical


def normalised_tag(tag: str) -> str | None:
    """The tag with RFC 5646's usual case, or None when it is not one."""
    match = _LANGUAGE_TAG.fullmatch(tag.lower())
    if match is None:
        return None
    parts = [match["language"], (match["script"] or "").title(), (match["region"] or "").upper()]
    return "-".join(filter(None, parts)) + match["variants"] + match["extensions"] + (match["private"] or "")
