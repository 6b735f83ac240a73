"""Reads the fields of a JSON object one by one and refuses each wrong one with a sentence that names it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shared.errors import InvalidRequest

MAX_TAG_LENGTH = 64
MAX_DEPTH = 64
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Fields:
    """The fields of one JSON object ({name: any JSON value}).

    The caller reads each field that it knows by one of the methods, then calls `reject_unknown_fields`. Every method
    raises InvalidRequest, which names the field, when the value does not fit. A field that is null counts as absent.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._names_read: set[str] = set()

    def reject_unknown_fields(self) -> None:
        """Raises InvalidRequest when the object has a field that no method has read."""
        for name in self._body:
            if name not in self._names_read:
                # Only a short ASCII word is repeated in the message: any other name may be text of the user.
                shown = name if re.fullmatch(r"\w{1,64}", name, re.ASCII) else None
                raise InvalidRequest(f"there is no field named {shown}" if shown else "unknown field", field=shown)

    def text(self, name: str, *, max_length: int | None = None) -> str:
        """Reads a required string of 1 to `max_length` Unicode code points, not only white space."""
        value = self.optional_text(name, max_length=max_length)
        if value is None:
            raise InvalidRequest(f"{name} is required", field=name)
        return value

    def optional_text(self, name: str, *, max_length: int | None = None) -> str | None:
        """Reads a string as `text` does; returns None when it is absent."""
        value = self.raw(name)
        if value is None:
            return None
        text = _require_string(name, value)
        if max_length is not None and len(text) > max_length:
            raise InvalidRequest(f"{name} is longer than {max_length} characters", field=name)
        if not text.strip():
            raise InvalidRequest(f"{name} is empty", field=name)
        return text

    def optional_uuid(self, name: str) -> str | None:
        """Reads a UUID and returns it in lower case with hyphens; returns None when it is absent."""
        value = self.raw(name)
        return None if value is None else read_uuid(name, _require_string(name, value))

    def language(self, name: str) -> str:
        """Reads a required BCP 47 language tag and returns it normalised (`en`, `pt-BR`, `zh-Hant-TW`)."""
        text = self.text(name, max_length=MAX_TAG_LENGTH)
        # The module loads the tables of langcodes, which takes 35 ms: only the first language of a process pays for it.
        from shared.domain.language_tag import normalise_language_tag  # noqa: PLC0415

        tag = normalise_language_tag(text)
        if tag is None:
            raise InvalidRequest(f"{name} is not a valid BCP 47 language tag such as en or pt-BR", field=name)
        return tag

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Reads a required string that is one of `choices`."""
        value = self.text(name, max_length=255)
        if value not in choices:
            raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", field=name)
        return value

    def optional_choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Reads one of `choices` as `choice` does; returns None when it is absent."""
        value = self.optional_text(name)
        if value is not None and value not in choices:
            raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", field=name)
        return value

    def strings(self, name: str, *, maximum: int, max_length: int = 255) -> tuple[str, ...]:
        """Reads a list of at most `maximum` strings of 1 to `max_length` code points; returns () when it is absent."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise InvalidRequest(f"{name} must be a list of strings", field=name)
        if len(value) > maximum:
            raise InvalidRequest(f"{name} holds more than {maximum} entries", field=name)
        for entry in value:
            if not isinstance(entry, str) or not entry.strip() or len(require_utf8(name, entry)) > max_length:
                raise InvalidRequest(f"{name} must hold strings of 1 to {max_length} characters", field=name)
        return tuple(value)

    def optional_whole_number(self, name: str, *, minimum: int, maximum: int | None = None) -> int | None:
        """Reads a whole number, which may be written as 2 or 2.0; returns None when it is absent."""
        value = _int_if_whole(self.raw(name))
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

    def optional_number(self, name: str, *, minimum: float, maximum: float) -> float | None:
        """Reads a number; returns None when it is absent."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise InvalidRequest(f"{name} must be a number from {minimum:g} to {maximum:g}", field=name)
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Reads a required JSON object."""
        value = self.optional_mapping(name)
        if value is None:
            raise InvalidRequest(f"{name} is required", field=name)
        return value

    def optional_mapping(self, name: str) -> Mapping[str, Any] | None:
        """Reads a JSON object; returns None when it is absent."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidRequest(f"{name} must be an object", field=name)
        return value

    def raw(self, name: str) -> Any:
        """Returns the field's value without a check, or None when it is absent."""
        self._names_read.add(name)
        return self._body.get(name)


def _require_string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string", field=name)
    return require_utf8(name, value)


def _int_if_whole(value: Any) -> Any:
    """Returns a float without a fraction as int, any other value unchanged: JSON does not tell 2.0 from 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_nested_too_deeply(value: Any) -> bool:
    """Returns True for JSON with more than MAX_DEPTH levels of lists and objects.

    Python's parser reads up to about 1,000 levels, but other code that walks through the value then fails with
    RecursionError.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level if isinstance(parent, dict | list) for child in _children(parent)]
        if not level:
            return False
    return True


def _children(parent: Mapping[str, Any] | list[Any]) -> Iterable[Any]:
    return parent.values() if isinstance(parent, Mapping) else parent


def require_utf8(name: str, value: str) -> str:
    """Returns `value`; raises InvalidRequest when it has an unpaired surrogate, which no UTF-8 store can keep."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} holds an unpaired surrogate", field=name) from None
    return value


def read_uuid(name: str, value: str) -> str:
    """Returns the UUID in lower case with hyphens. Raises InvalidRequest for any other text, and for other spellings.

    Python's UUID also takes braces, `urn:uuid:` and missing hyphens.
    """
    if not _UUID.fullmatch(value):
        raise InvalidRequest(f"{name} is not a UUID", field=name)
    return value.lower()
