"""Checks whether a translation is plausible at all: its length, its script and language, what is left untranslated."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from shared.domain.checks.finding import CheckName, finding, listed
from shared.domain.checks.scripts import count_scripts, parts_of, script_of
from shared.domain.checks.stop_words import (
    ANY_STOP_WORD,
    SIMPLIFIED_ONLY,
    STOP_WORDS,
    TRADITIONAL_ONLY,
    are_close,
    primary,
)

MIN_LETTERS = 4
"""With fewer letters a text may be a name in any script."""
MIN_SHARE = 0.5
"""The least share of letters in the script of the target language; names and brands keep theirs."""
MIN_FREQUENT = 3
"""With fewer frequent words of another language a text may quote it."""
MIN_RUN_WORDS = 6
MIN_RUN_CHARACTERS = 14
_CHARACTERS = {
    "zh": 0.33, "yue": 0.33, "ja": 0.52, "ko": 0.52, "he": 0.78, "ar": 0.86, "fa": 0.95, "th": 0.95, "uk": 1.05,
    "fi": 1.05, "hi": 1.05, "ru": 1.08, "pl": 1.08, "hu": 1.1, "vi": 1.1, "nl": 1.12, "pt": 1.12, "ro": 1.12,
    "de": 1.15, "es": 1.15, "it": 1.15, "fr": 1.18, "el": 1.18,
}  # fmt: skip
"""{language: characters of a text for each character of its English version}; of the others about 1."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?[\u0300-\u036f\u0900-\u0903\u093a-\u094f]*")
_INDIC_WORD = re.compile(r"[\w\u0900-\u0963]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def check_length(source: str, target: str, *, source_lang: str, target_lang: str) -> Mapping[str, Any]:
    """Compares the lengths of two texts without markup, as far as the languages and the length of the text allow.

    The tolerance is wide for a short text, and narrow for a long one, whose peculiarities even out.
    """
    wrote, expected = len("".join(target.split())), len("".join(source.split()))
    expected_length = expected * _density(target_lang) / _density(source_lang)
    in_english = expected / _density(source_lang)
    problem = None
    if in_english >= 1:
        tolerance = math.exp(3 * (0.1 + 1.2 / math.sqrt(in_english)))
        if wrote * tolerance < expected_length:
            problem = "The translation is much shorter than its source lets expect."
        elif wrote > expected_length * tolerance:
            problem = "The translation is much longer than its source lets expect."
    return finding(CheckName.LENGTH, problem, f"{wrote} characters for {expected}.")


def _density(language: str) -> float:
    return _CHARACTERS.get(language, 1.0)


def check_language(source: str, target: str, *, source_tag: str | None, target_tag: str | None) -> Mapping[str, Any]:
    """Recognises the script, and then the language by its frequent words, of a text without markup."""
    if not target_tag:
        return finding(CheckName.LANGUAGE, None, "The run names no target language.")
    if _folded(source) == _folded(target) and not _is_prose(source):
        return finding(CheckName.LANGUAGE, None, "The text is a name or a code.")
    problem = (
        _wrong_script(target, target_tag)
        or _wrong_chinese(target, target_tag)
        or _wrong_words(target, source_tag, target_tag)
    )
    return finding(CheckName.LANGUAGE, problem, "The script and the frequent words are plausible.")


def _wrong_script(text: str, tag: str) -> str | None:
    script, counts = script_of(tag), count_scripts(text)
    if script is None or counts.total() < MIN_LETTERS:
        return None
    share = sum(counts[part] for part in parts_of(script)) / counts.total()
    kana = counts["HIRAGANA"] + counts["KATAKANA"]
    other = max(counts, key=lambda name: counts[name] if name not in parts_of(script) else -1)
    if share < MIN_SHARE:
        return f"The translation is mostly in the script {other.title()}, which is not that of {tag}."
    if script == "HAN" and kana > 0.1 * counts.total():
        return "The translation has the syllables of Japanese."
    if script == "JAPANESE" and not kana and counts["HAN"] >= 12:
        return "The translation has no syllables of Japanese, so it is probably Chinese."
    if script == "HANGUL" and counts["HANGUL"] < counts["HAN"]:
        return "The translation has more Chinese characters than Korean letters."
    return None


def _wrong_chinese(text: str, tag: str) -> str | None:
    subtags = tag.lower().split("-")
    if primary(tag) != "zh":
        return None
    is_traditional = bool({"hant", "tw", "hk", "mo"} & set(subtags)) and "hans" not in subtags
    simplified, traditional = (
        sum(char in SIMPLIFIED_ONLY for char in text),
        sum(char in TRADITIONAL_ONLY for char in text),
    )
    if is_traditional and simplified > traditional:
        return "The translation is in simplified characters."
    if not is_traditional and {"hans", "cn", "sg"} & set(subtags) and traditional > simplified:
        return "The translation is in traditional characters."
    return None


def _wrong_words(text: str, source_tag: str | None, target_tag: str) -> str | None:
    """Compares the frequent words of the target language with those of each other language that has a list."""
    words = words_of(text)
    frequent = Counter(word for word in words if word in ANY_STOP_WORD)
    if frequent.total() < MIN_FREQUENT:
        return None
    target, hits = primary(target_tag), {}
    own = STOP_WORDS.get(target)
    for language, listed_words in STOP_WORDS.items():
        if are_close(language, target) or (own is None and language != primary(source_tag)):
            continue
        theirs = sum(count for word, count in frequent.items() if word in listed_words and word not in (own or ()))
        ours = sum(count for word, count in frequent.items() if word in (own or ()) and word not in listed_words)
        if theirs >= MIN_FREQUENT and theirs >= 3 * ours and theirs >= 0.15 * len(words):
            hits[language] = theirs
    if not hits:
        return None
    return (
        f"The frequent words of the translation are those of {max(hits, key=lambda name: hits[name])}, not of {target}."
    )


def words_of(text: str) -> list[str]:
    """Returns the words in small letters."""
    pattern = _INDIC_WORD if re.search(r"[\u0900-\u0963]", text) else _WORD
    return pattern.findall(text.lower().replace("’", "'"))


def check_untranslated(source: str, target: str, *, source_lang: str, target_lang: str) -> Mapping[str, Any]:
    """Looks for passages of the source in the translation; names and single words may stay as they are."""
    fine = "Nothing is left untranslated."
    if source_lang and are_close(source_lang, target_lang):
        return finding(CheckName.UNTRANSLATED, None, "Both languages are so close that passages may be the same.")
    if _folded(source) == _folded(target) and _is_prose(source):
        return finding(CheckName.UNTRANSLATED, "The translation is the same as the source.", fine)
    runs = [*_same_words(source, target), *_same_characters(source, target)]
    problem = f"These passages of the source are not translated: {listed(runs)}." if runs else None
    return finding(CheckName.UNTRANSLATED, problem, fine)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_prose(text: str) -> bool:
    """Returns whether the text is more than a name or a code: it has at least four words, or as much without spaces."""
    words = [word for word in _spaced_words(text) if word[:1].islower() or word[:1].lower() == word[:1].upper()]
    return len(words) >= 3 or len(_UNSPACED.findall(text)) >= 8


def _spaced_words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_][\w'’\u0900-\u0963]*", text)


def _same_words(source: str, target: str) -> list[str]:
    """Returns the longest runs of at least MIN_RUN_WORDS words that both have; most of them are no names."""
    ours, theirs = _spaced_words(source), _spaced_words(target)
    windows = {tuple(ours[i : i + MIN_RUN_WORDS]) for i in range(len(ours) - MIN_RUN_WORDS + 1)}
    runs, position = [], 0
    while position <= len(theirs) - MIN_RUN_WORDS:
        end = position
        while end <= len(theirs) - MIN_RUN_WORDS and tuple(theirs[end : end + MIN_RUN_WORDS]) in windows:
            end += 1
        run = theirs[position : end + MIN_RUN_WORDS - 1] if end > position else []
        if run and _is_prose(" ".join(run)):
            runs.append(" ".join(run))
        position += max(len(run), 1)
    return runs


def _same_characters(source: str, target: str) -> list[str]:
    """Returns runs of characters in scripts without spaces that both texts have."""
    if len(_UNSPACED.findall(target)) < MIN_RUN_CHARACTERS - 3:
        return []
    windows = {source[i : i + MIN_RUN_CHARACTERS] for i in range(len(source) - MIN_RUN_CHARACTERS + 1)}
    for i in range(len(target) - MIN_RUN_CHARACTERS + 1):
        window = target[i : i + MIN_RUN_CHARACTERS]
        if window in windows and len(_UNSPACED.findall(window)) >= MIN_RUN_CHARACTERS - 3:
            return [window]
    return []
