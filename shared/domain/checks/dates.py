"""Checks that a translation has the dates of its source, whatever the order and the names of the months are."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from msgspec import Struct, field

from shared.domain.checks.digits import with_ascii_digits
from shared.domain.checks.finding import CheckName, finding, missing_and_added
from shared.domain.checks.months import MONTHS, WITH_NUMBERED_MONTHS
from shared.domain.checks.number_words import NUMBER_WORDS, stands_in_words

Reading = tuple[int | None, int, int]
"""(year, month, day)."""
_EASTERN = re.compile(
    r"(?:(?:(\d{4})|(令和|平成|昭和)\s?(元|\d{1,2}))\s?[年년]\s?)?(?<!\d)(\d{1,2})\s?[月월]\s?(\d{1,2})\s?[日일号號]"
)
_VIETNAMESE = re.compile(r"(?<!\d)(\d{1,2})\s+tháng\s+(\d{1,2})(?:(?:\s+năm)?\s+(\d{4}))?", re.IGNORECASE)
_ERA_STARTS = {"令和": 2018, "平成": 1988, "昭和": 1925}
_YEAR_FIRST = re.compile(r"(?<![\d./\-])(\d{4})(?P<s>[-/.])\s?(\d{1,2})(?P=s)\s?(\d{1,2})(?![\d/]|[.\-]\d)")
_YEAR_LAST = re.compile(r"(?<![\d./\-])(\d{1,2})(?P<s>[-/.])\s?(\d{1,2})(?P=s)\s?(\d{4}|\d{2})(?![\d/]|[.\-]\d)")
_ORDINAL = r"(?:\.|º|°|ª|-?(?:st|nd|rd|th|er|го|е|й))?"
_BUDDHIST_OFFSET = 543
_DIGIT = re.compile(r"\d")
MAX_DATES = 60
"""Further dates of a text are left to the check of numbers, which bounds the time."""


class Date(Struct, frozen=True, kw_only=True):
    """A date in a text; an ambiguous one, such as 03/04/2024, has several readings."""

    text: str
    start: int
    end: int
    readings: frozenset[Reading] = field(default_factory=frozenset)


class DateReport(Struct, frozen=True, kw_only=True):
    """The finding, and both texts without the dates that were read in both."""

    finding: Mapping[str, Any]
    source: str
    target: str


def check_dates(source: str, target: str, *, source_lang: str, target_lang: str) -> DateReport:
    """Compares the dates of two texts; the languages are primary subtags.

    A date whose counterpart cannot be read, because the months of the other language are not known or its numbers are
    written in words, is left to the check of numbers.
    """
    source, target = with_ascii_digits(source), with_ascii_digits(target)
    wanted, found = _dates(source, source_lang), _dates(target, target_lang)
    missing, added = _unmatched(wanted, found)
    is_changed = bool(missing and added)
    wrong = _faults(missing, target, target_lang, is_changed=is_changed)
    extra = _faults(added, source, source_lang, is_changed=is_changed)
    problem = missing_and_added([date.text for date in wrong], [date.text for date in extra])
    fine = f"All {len(wanted)} kept." if wanted else "The text has no date."
    if not is_changed:
        wrong = extra = []
    return DateReport(
        finding=finding(CheckName.DATES, problem, fine),
        source=_without(source, wanted, missing, wrong),
        target=_without(target, found, added, extra),
    )


def _can_read(language: str) -> bool:
    return language in MONTHS or language in WITH_NUMBERED_MONTHS


def _faults(unmatched: list[Date], other: str, language: str, *, is_changed: bool) -> list[Date]:
    """Returns the dates that the other text lacks for sure: they do not stand in it in words or in unknown names."""
    if not _can_read(language):
        return []
    return [date for date in unmatched if is_changed or not _in_words(date, other, language)]


def _in_words(date: Date, text: str, language: str) -> bool:
    """Returns whether the other text may name the day in words: the first of May."""
    days = {day for _, _, day in date.readings if day in NUMBER_WORDS.get(language, {})}
    return any(stands_in_words(day, text, language) for day in days)


def _unmatched(wanted: list[Date], found: list[Date]) -> tuple[list[Date], list[Date]]:
    missing, left = [], list(found)
    for date in wanted:
        match = next((other for other in left if _is_same(date, other)), None)
        if match is None:
            missing.append(date)
        else:
            left.remove(match)
    return missing, left


def _is_same(one: Date, other: Date) -> bool:
    """Returns whether the dates have a reading in common; a year that only one of them names is no difference."""
    return any(
        a[1:] == b[1:] and (a[0] is None or b[0] is None or a[0] == b[0]) for a in one.readings for b in other.readings
    )


def _without(text: str, dates: list[Date], unmatched: list[Date], told: list[Date]) -> str:
    """Blanks out the dates that are matched or told of; of the others the numbers remain."""
    for date in sorted(dates, key=lambda date: date.start, reverse=True):
        if date not in unmatched or date in told:
            text = f"{text[: date.start]}{' ' * (date.end - date.start)}{text[date.end :]}"
    return text


def _dates(text: str, language: str) -> list[Date]:
    """Returns the dates in the order of the text; none overlaps another. Each of them has a digit."""
    dates: list[Date] = []
    if not _DIGIT.search(text):
        return dates
    for date in chain(_eastern(text), _named(text, language), _numeric(text, language)):
        if len(dates) == MAX_DATES:
            break
        if date.readings and all(date.end <= other.start or other.end <= date.start for other in dates):
            dates.append(date)
    return sorted(dates, key=lambda date: date.start)


def _date(match: re.Match[str], readings: Iterator[Reading] | list[Reading]) -> Date:
    valid = frozenset((year, month, day) for year, month, day in readings if 1 <= month <= 12 and 1 <= day <= 31)
    return Date(text=match[0].strip(), start=match.start(), end=match.end(), readings=valid)


def _eastern(text: str) -> Iterator[Date]:
    for match in _EASTERN.finditer(text):
        year, era, era_year, month, day = match.groups()
        if era:
            year = str(_ERA_STARTS[era] + (1 if era_year == "元" else int(era_year)))
        yield _date(match, [(int(year) if year else None, int(month), int(day))])
    for match in _VIETNAMESE.finditer(text):
        yield _date(match, [(int(match[3]) if match[3] else None, int(match[2]), int(match[1]))])


@lru_cache(maxsize=32)
def _named_patterns(language: str) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """Returns the patterns of `5 March 2024` and of `March 5, 2024`; None when the months are not known."""
    if language not in MONTHS:
        return None
    names = "|".join(sorted(map(re.escape, MONTHS[language]), key=len, reverse=True))
    month = rf"(?:[בלמ]-?)?(?P<month>{names})(?![^\W\d_])\.?"
    year = r"(?:[\s,]*(?:de[l]?\s|พ\.?ศ\.?\s?|ค\.?ศ\.?\s?)?\s?(?P<year>\d{4})(?!\d))?"
    day_first = rf"(?<![\d.,/])(?P<day>\d{{1,2}}){_ORDINAL}\s{{0,3}}(?:de\s|of\s)?\s?{month}{year}"
    month_first = rf"(?<![^\W\d_]){month}\s{{1,3}}(?P<day>\d{{1,2}})(?!\d|[.,:]\d){_ORDINAL}{year}"
    return re.compile(day_first, re.IGNORECASE), re.compile(month_first, re.IGNORECASE)


def _named(text: str, language: str) -> Iterator[Date]:
    for pattern in _named_patterns(language) or ():
        for match in pattern.finditer(text):
            month = MONTHS[language].get(match["month"].lower())
            if month is not None:
                yield _date(match, list(_years(match["year"], month, int(match["day"]), language)))


def _years(year: str | None, month: int, day: int, language: str) -> Iterator[Reading]:
    yield int(year) if year else None, month, day
    if year and language == "th":
        yield int(year) - _BUDDHIST_OFFSET, month, day


def _numeric(text: str, language: str) -> Iterator[Date]:
    for match in _YEAR_FIRST.finditer(text):
        yield _date(match, list(_years(match[1], int(match[3]), int(match[4]), language)))
    for match in _YEAR_LAST.finditer(text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        year += 2000 if year < 70 else 1900 if year < 100 else 0
        readings = list(_years(str(year), second, first, language))
        if match["s"] != "." and language in ("en", "fil"):
            readings.append((year, first, second))
        yield _date(match, readings)
