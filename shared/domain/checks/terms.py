"""Checks that terms have their required translation, also where grammar inflects them."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.domain.checks.finding import CheckName, finding
from shared.domain.checks.stop_words import primary

MAX_TERMS = 100
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_COMPOUNDING = frozenset({"de", "nl", "sv", "da", "no", "fi", "hu", "is", "et"})
"""Languages that write a term as a part of a longer word."""
_ARTICLES = {"ar": "(?:[وفبكل]{0,2}(?:ال)?)?", "he": "[והבלכמש]{0,3}", "fa": "", "ur": ""}
"""What these languages write in front of a word without a space."""


def terms_in(
    text: str, terms: Sequence[Mapping[str, Any]], *, source_lang: str | None, target_lang: str | None
) -> tuple[Mapping[str, str], ...]:
    """Returns the pairs {source, target} whose source stands in the text, longer ones first, at most MAX_TERMS.

    A pair may name `source_lang` and `target_lang`; then it counts between these languages alone. A term within a
    longer one, `order` in `purchase order`, counts only where it also stands alone.
    """
    found, left = [], fold(text)
    for term in sorted(terms, key=lambda term: len(str(term.get("source"))), reverse=True):
        source, target = term.get("source"), term.get("target")
        if not (isinstance(source, str) and isinstance(target, str) and source.strip() and target.strip()):
            continue
        if not (_speaks(term.get("source_lang"), source_lang) and _speaks(term.get("target_lang"), target_lang)):
            continue
        if fold(source).strip()[:2] not in left:
            continue
        pattern = _pattern(source, primary(source_lang))
        if pattern.search(left):
            left = pattern.sub(" ", left)
            found.append({"source": source, "target": target})
    return tuple(found[:MAX_TERMS])


def check_terms(target: str, terms: Sequence[Mapping[str, Any]], *, target_lang: str) -> Iterator[Mapping[str, Any]]:
    """Yields a finding for each pair {source, target}; several pairs with one source are alternatives."""
    text = fold(target)
    allowed: dict[str, list[str]] = {}
    for term in terms[:MAX_TERMS]:
        allowed.setdefault(str(term["source"]), []).append(str(term["target"]))
    for source, targets in allowed.items():
        has_one = any(_pattern(wanted, target_lang).search(text) for wanted in targets)
        problem = None if has_one else "The translation lacks the required term."
        yield finding(
            CheckName.TERMS, problem, "The required term is there.", source=source, target=" / ".join(targets)
        )


def fold(text: str) -> str:
    """Returns the text in small letters without accents, so that Vertrag is found in Verträge."""
    if text.isascii():
        return text.lower()
    letters = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", "".join(char for char in letters if not "\u0300" <= char <= "\u036f"))


def _speaks(wanted: Any, tag: str | None) -> bool:
    """Returns whether a run in the language `tag` is in the language that a pair names; `de` includes `de-AT`."""
    if wanted is None:
        return True
    return tag is not None and f"{tag.lower()}-".startswith(f"{str(wanted).lower()}-")


def _pattern(term: str, language: str) -> re.Pattern[str]:
    """Returns the pattern of a term in a folded text, whose words may have other endings."""
    folded = fold(term).strip()
    if _UNSPACED.search(folded):
        return re.compile(r"\s*".join(map(re.escape, folded.split())))
    words = [_stem(word) for word in re.findall(r"[^\W_]+(?:['’.\-&+#/][^\W_]+)*[+#]*|[^\w\s]+", folded)] or [
        re.escape(folded)
    ]
    start = "" if language in _COMPOUNDING and len(folded) > 3 else rf"(?<!\w){_ARTICLES.get(language, '')}"
    between = rf"[\s\-]+{_ARTICLES.get(language, '')}(?:\w+[\s\-]+)?"
    return re.compile(
        start + between.join(words) + (r"" if language in _COMPOUNDING and len(folded) > 3 else r"(?!\w)")
    )


def _stem(word: str) -> str:
    """Returns a pattern for the word with other endings; an abbreviation or a code has none."""
    if len(word) <= 2 or not word.isalpha():
        return re.escape(word)
    kept = len(word) if len(word) <= 4 else len(word) - 1 if len(word) <= 6 else len(word) - 2
    return re.escape(word[:kept]) + rf"\w{{0,{len(word) - kept + 4}}}"
