"""Checks that a translation has the numbers of its source, in the notation of any language.

1,234.5 and 1.234,5 and 1 234,5 are the same number, as are 1.5 million and 150万, 3 pm and 15:00, and three and 3.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec import Struct

from shared.domain.checks.finding import CheckName, finding, missing_and_added
from shared.domain.checks.number_words import SCALES, stands_in_words
from shared.domain.frozen import replace

MAX_NUMBERS = 300
"""Further numbers of a text are not compared, which bounds the time."""
MAX_DIGITS = 40
_SEPARATORS = ".,٫٬'’·\u00a0\u202f\u2009"
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(rf"\d+(?:[{_SEPARATORS}]\d+)*")
_BLANK_GROUPS = re.compile(rf"(?<![\d{_SEPARATORS}])\d{{1,3}}(?: \d{{3}})+(?:[.,٫]\d+)?(?![\d{_SEPARATORS}]\d|\d)")
_SCALE_WORDS = sorted(SCALES, key=len, reverse=True)
_SCALE = re.compile(rf"[\s\u00a0-]?({'|'.join(map(re.escape, _SCALE_WORDS))})(?![a-zA-Zа-яёА-ЯЁ])\.?", re.IGNORECASE)
_DECADE = re.compile(r"(?:['’]?s|er|-х|-ті|年代)(?![^\W\d_])")
_AFTERNOON_BEHIND = re.compile(
    r"(?:[:.]\d\d)?\s?(?:p\.?\s?m\b|uhr (?:nach|abend)|de la (?:tarde|noche)|da (?:tarde|noite))", re.IGNORECASE
)
_AFTERNOON_BEFORE = re.compile(r"(?:午後|下午|晚上|夜|오후|저녁)\s?$")


class Number(Struct, frozen=True, kw_only=True):
    """A number in a text with the values that it may stand for: 1,234 is 1234 or 1.234."""

    text: str
    start: int
    end: int
    values: frozenset[Decimal | str]
    has_scale: bool = False
    """Whether a word such as million follows, which `values` take into account."""


def check_numbers(source: str, target: str, *, source_lang: str, target_lang: str) -> Mapping[str, Any]:
    """Compares the numbers of two texts with ASCII digits; the languages are primary subtags."""
    wanted, found = _numbers(source, target), _numbers(target, source)
    missing, added = _unmatched(wanted, found)
    missing, added = _without_parts(missing, added)
    missing = [number for number in missing if not _stands_in_words(number, target, target_lang)]
    added = [number for number in added if not _stands_in_words(number, source, source_lang)]
    problem = missing_and_added([number.text for number in missing], [number.text for number in added])
    return finding(CheckName.NUMBERS, problem, f"All {len(wanted)} kept." if wanted else "The text has no number.")


def _numbers(text: str, other: str) -> list[Number]:
    """Returns the first MAX_NUMBERS; groups of digits with blanks between them are one number if `other` has it."""
    if not _DIGIT.search(text):
        return []
    tokens: list[Number] = []
    joined = {match.start(): match for match in _BLANK_GROUPS.finditer(text)}
    others = {value for match in _NUMBER.finditer(other) for value in _values(match[0])} if joined else set()
    position = 0
    while len(tokens) < MAX_NUMBERS and (match := _NUMBER.search(text, position)):
        group = joined.get(match.start())
        if group is not None and (_values(group[0]) & others or not _values(match[0]) & others):
            match = group
        tokens.append(_with_scale(text, match))
        position = tokens[-1].end
    return list(_with_sums(tokens))


def _with_scale(text: str, match: re.Match[str]) -> Number:
    """Reads the number with the scale words or the mark of the afternoon beside it."""
    values, end, factor = _values(match[0]), match.end(), 1
    while factor < 10**12 and (scale := _SCALE.match(text, end)):
        factor, end = factor * SCALES[scale[1].lower()], scale.end()
    if factor > 1:
        scaled = frozenset(value * factor for value in values if isinstance(value, Decimal))
        return Number(text=text[match.start() : end], start=match.start(), end=end, values=scaled, has_scale=True)
    if _DECADE.match(text, end):
        values |= {value % 100 for value in values if isinstance(value, Decimal)}
    behind = _AFTERNOON_BEHIND.match(text, end)
    if behind or _AFTERNOON_BEFORE.search(text[max(match.start() - 6, 0) : match.start()]):
        values |= {value + 12 for value in values if isinstance(value, Decimal) and value < 12}
    return Number(text=match[0], start=match.start(), end=match.end(), values=values)


def _with_sums(tokens: Sequence[Number]) -> Iterator[Number]:
    """Joins what stands together as one number in Chinese, Japanese and Korean: 1億2000万."""
    pending: Number | None = None
    for token in tokens:
        if pending is not None and pending.has_scale and pending.end == token.start and not pending.text[-1].isascii():
            values = frozenset(
                a + b for a in pending.values for b in token.values if isinstance(a, Decimal) and isinstance(b, Decimal)
            )
            pending = replace(pending, text=pending.text + token.text, end=token.end, values=values)
            continue
        if pending is not None:
            yield pending
        pending = token
    if pending is not None:
        yield pending


@lru_cache(maxsize=1024)
def _values(token: str) -> frozenset[Decimal | str]:
    """Returns what digits with separators may mean; a version or an address, 1.2.3, is no number but a text."""
    groups = re.split(rf"[{_SEPARATORS} ]", token)
    separators = re.findall(rf"[{_SEPARATORS} ]", token)
    if len(token) > MAX_DIGITS or not separators:
        return frozenset({Decimal(token)} if len(token) <= MAX_DIGITS else {token})
    whole, last = "".join(groups), separators[-1]
    values: set[Decimal | str] = set()
    if _is_grouped(groups) and len(set(separators)) == 1:
        values.add(Decimal(whole))
    is_decimal = last in ".,٫·" and separators.count(last) == 1
    if is_decimal and (len(separators) == 1 or _is_grouped(groups[:-1])):
        values.add(Decimal(f"{''.join(groups[:-1])}.{groups[-1]}").normalize())
    return frozenset(value if isinstance(value, str) else value + 0 for value in values) or frozenset(
        {".".join(groups)}
    )


def _is_grouped(groups: Sequence[str]) -> bool:
    """Returns whether these are groups of thousands, or of India's hundreds."""
    first, middle, last = groups[0], groups[1:-1], groups[-1]
    if len(groups) < 2 or not 1 <= len(first) <= 3 or first.startswith("0") or len(last) != 3:
        return False
    return all(len(group) == 3 for group in middle) or (len(first) <= 2 and all(len(group) == 2 for group in middle))


def _unmatched(wanted: Sequence[Number], found: Sequence[Number]) -> tuple[list[Number], list[Number]]:
    """Returns the numbers without a partner on the other side. Equal texts become partners first."""
    missing, left = list(wanted), list(found)
    for is_same in (_has_same_text, _has_same_value):
        for number in list(missing):
            match = next((other for other in left if is_same(number, other)), None)
            if match is not None:
                missing.remove(number)
                left.remove(match)
    return missing, left


def _has_same_text(one: Number, other: Number) -> bool:
    return one.text == other.text


def _has_same_value(one: Number, other: Number) -> bool:
    """A scale word that only one side has may be one that is not known here; then the digits are compared alone."""
    if one.values & other.values:
        return True
    return one.has_scale != other.has_scale and bool(_bare_values(one) & _bare_values(other))


def _bare_values(number: Number) -> frozenset[Decimal | str]:
    match = _NUMBER.match(number.text)
    return _values(match[0]) if match else number.values


def _without_parts(missing: Sequence[Number], added: Sequence[Number]) -> tuple[list[Number], list[Number]]:
    """Matches what one text writes together and the other apart, such as the time 15.30 and 15:30."""
    missing_parts, added_parts = (
        [part for one in missing for part in _parts(one)],
        [p for one in added for p in _parts(one)],
    )
    still_missing, still_added = _unmatched(missing_parts, added_parts)
    return _kept(missing, still_missing), _kept(added, still_added)


def _parts(number: Number) -> list[Number]:
    if number.has_scale:
        return [number]
    afternoon = max((value for value in number.values if isinstance(value, Decimal)), default=Decimal(0))
    parts = re.split(rf"[{_SEPARATORS} ]", number.text)
    if len(parts) == 1:
        return [number]
    extra = {Decimal(int(afternoon))} if len(number.values) > 1 else set()
    return [replace(number, text=part, values=_values(part) | extra) for part in parts]


def _kept(numbers: Sequence[Number], unmatched: Sequence[Number]) -> list[Number]:
    """Returns the numbers of which a part has no partner; a part of zeros, as the minutes of 15:00, needs none."""
    starts = {number.start for number in unmatched if number.text.strip("0")}
    return [number for number in numbers if number.start in starts]


def _stands_in_words(number: Number, text: str, language: str) -> bool:
    values = [value for value in number.values if isinstance(value, Decimal) and value == int(value)]
    return bool(values) and not number.has_scale and stands_in_words(int(min(values)), text, language)
