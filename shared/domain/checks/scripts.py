"""Knows the scripts of languages, and counts the letters of a text by script."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

_SCRIPT_OF_LANGUAGES = {
    "CYRILLIC": "ru uk be bg mk sr kk ky tg mn tt ba",
    "ARABIC": "ar fa ur ps ckb sd ug",
    "HEBREW": "he yi",
    "DEVANAGARI": "hi mr ne sa bho mai kok",
    "BENGALI": "bn as",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "ORIYA": "or",
    "THAI": "th",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "GREEK": "el",
    "ETHIOPIC": "am ti",
    "TIBETAN": "bo dz",
    "HANGUL": "ko",
    "HAN": "zh yue cmn wuu lzh",
    "JAPANESE": "ja",
    "LATIN": (
        "en de fr es it pt nl sv da no nb nn fi is et lv lt pl cs sk sl hr bs ro hu tr az uz tk sq mt ga gd cy eu ca gl"
        " af sw zu xh yo ig ha so id ms jv su fil tl ceb vi la eo lb fo rm ast oc br co fy mi sm to haw ht rw sn st tn"
    ),
}
_SCRIPT_OF_CODES = {
    "latn": "LATIN", "cyrl": "CYRILLIC", "arab": "ARABIC", "hebr": "HEBREW", "deva": "DEVANAGARI", "hans": "HAN",
    "hant": "HAN", "hani": "HAN", "jpan": "JAPANESE", "hang": "HANGUL", "kore": "HANGUL", "grek": "GREEK",
    "thai": "THAI", "guru": "GURMUKHI", "beng": "BENGALI",
}  # fmt: skip
_SCRIPT_OF = {language: script for script, names in _SCRIPT_OF_LANGUAGES.items() for language in names.split()}
_PARTS: Mapping[str, frozenset[str]] = {
    "JAPANESE": frozenset({"HAN", "HIRAGANA", "KATAKANA"}),
    "HANGUL": frozenset({"HANGUL", "HAN"}),
}
_NAMES = {"CJK": "HAN", "KATAKANA-HIRAGANA": "KATAKANA", "HALFWIDTH": "KATAKANA", "IDEOGRAPHIC": "HAN"}


def script_of(tag: str) -> str | None:
    """Returns the script in which a language is written, None when it is not known or the tag names another one."""
    language, *subtags = tag.lower().split("-")
    written = next((part for part in subtags if len(part) == 4 and part.isalpha()), None)
    return _SCRIPT_OF_CODES.get(written) if written else _SCRIPT_OF.get(language)


def parts_of(script: str) -> frozenset[str]:
    """Returns the scripts of Unicode that a text in this script uses."""
    return _PARTS.get(script, frozenset({script}))


def count_scripts(text: str) -> Counter[str]:
    """Returns how many letters of each script of Unicode the text has."""
    return Counter(script for script in map(_script_of_letter, text) if script)


@lru_cache(maxsize=4096)
def _script_of_letter(char: str) -> str | None:
    if char.isascii():
        return "LATIN" if char.isalpha() else None
    if not char.isalpha():
        return None
    name = unicodedata.name(char, "").split(" ")[0]
    if name == "FULLWIDTH":
        return "LATIN"
    return _NAMES.get(name, name) or None
