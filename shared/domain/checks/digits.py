"""Writes the digits of all scripts as 0 to 9."""

import unicodedata

_FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4"}
_BIDI_MARKS = dict.fromkeys([0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def with_ascii_digits(text: str) -> str:
    """Returns the text with decimal digits of any script as 0 to 9, and without marks of the writing direction."""
    if text.isascii():
        return text
    return "".join(_FRACTIONS.get(char) or _ascii_digit(char) for char in text.translate(_BIDI_MARKS))


def _ascii_digit(char: str) -> str:
    if char.isascii():
        return char
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)
