"""Defines what one check of a translation says, and builds such findings."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

MAX_QUOTED = 3
"""How many things a detail names; the detail tells the number of the others."""
MAX_QUOTED_CHARACTERS = 80


class CheckName(StrEnum):
    """The checks, in the order in which a run shows them."""

    TERMS = "terms"
    """A required term has its required translation."""
    NUMBERS = "numbers"
    """Every number is there, in the notation of either language."""
    DATES = "dates"
    """Every date is there, in the notation of either language."""
    PLACEHOLDERS = "placeholders"
    """Every placeholder of a template is there, unchanged."""
    TAGS = "tags"
    """The HTML or XML tags are the same, and balanced."""
    URLS = "urls"
    """Every URL and e-mail address is there, unchanged."""
    LENGTH = "length"
    """The translation is about as long as the languages let expect."""
    LANGUAGE = "language"
    """The script and the frequent words are those of the target language."""
    UNTRANSLATED = "untranslated"
    """No passage of the source stands unchanged in the translation."""


def finding(check: CheckName, problem: str | None, fine: str, **quoted: str) -> Mapping[str, Any]:
    """Returns {check, ok, detail, source?, target?}; `problem` is None when nothing is wrong, then `fine` is told."""
    return {"check": str(check), "ok": problem is None, "detail": problem or fine, **quoted}


def listed(things: Iterable[str]) -> str:
    """Returns the first few of the things, each in short form, and how many others there are."""
    shown = [thing if len(thing) <= MAX_QUOTED_CHARACTERS else f"{thing[:MAX_QUOTED_CHARACTERS]}…" for thing in things]
    more = f" and {len(shown) - MAX_QUOTED} more" if len(shown) > MAX_QUOTED else ""
    return ", ".join(shown[:MAX_QUOTED]) + more


def missing_and_added(missing: Iterable[str], added: Iterable[str]) -> str | None:
    """Returns a sentence about what the translation lacks and has in excess; None when both are empty."""
    lost, extra = listed(missing), listed(added)
    sentences = [f"The translation lacks {lost}."] if lost else []
    sentences += [f"Only the translation has {extra}."] if extra else []
    return " ".join(sentences) or None


def failed_checks(checks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the findings that something is wrong."""
    return [check for check in checks if not check["ok"]]
