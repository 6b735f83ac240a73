"""Simulates a translation that a reader recognises at once and that is always the same for the same text.

It translates the terms of a small glossary and puts accents on all other words. Numbers, placeholders, tags and URLs
stay unchanged.
"""

import re
from typing import Any
from zlib import crc32

GLOSSARY: dict[str, dict[str, str]] = {
    "de": {"hello": "Hallo", "world": "Welt", "invoice": "Rechnung", "order": "Bestellung", "customer": "Kunde"},
    "fr": {"hello": "bonjour", "world": "monde", "invoice": "facture", "order": "commande", "customer": "client"},
    "es": {"hello": "hola", "world": "mundo", "invoice": "factura", "order": "pedido", "customer": "cliente"},
    "ja": {"hello": "こんにちは", "world": "世界", "invoice": "請求書", "order": "注文", "customer": "お客様"},
}
_ACCENTS = str.maketrans("aeiouAEIOUcnyCNY", "áéíóúÁÉÍÓÚçñýÇÑÝ")
_UNTRANSLATED = re.compile(
    r"https?://\S+|<[^<>]+>|\{\{[^{}]*\}\}|\{[^{}]*\}|%\([^()]*\)[a-z]|%[a-z]|\$\{[^{}]*\}|\$\w+|\[\[[^\[\]]*\]\]|\d[\d.,:]*"
)
_WORD = re.compile(r"[^\W\d_]+")


def translate(text: str, *, target_lang: str | None) -> dict[str, Any]:
    """Returns {text, memory_flags: [{segment, match, used}], term_pairs: [{source, target}]} of the job API.

    `target_lang` is a BCP 47 tag; without one the target is English.
    """
    target = target_lang or "en"
    terms = GLOSSARY.get(target.split("-")[0], {})
    used_terms: dict[str, str] = {}
    parts, end = [], 0
    for untranslated in _UNTRANSLATED.finditer(text):
        parts += [_translate_words(text[end : untranslated.start()], terms, used_terms), untranslated[0]]
        end = untranslated.end()
    parts.append(_translate_words(text[end:], terms, used_terms))
    return {
        "text": f"[{target}] {''.join(parts)}",
        "memory_flags": [_build_memory_flag(segment) for segment in _split_sentences(text)],
        "term_pairs": [{"source": source, "target": term} for source, term in used_terms.items()],
    }


def _translate_words(text: str, terms: dict[str, str], used_terms: dict[str, str]) -> str:
    """Translates each word by `terms` ({source: target}) or puts accents on it; adds the used ones to `used_terms`."""

    def translate_word(word: re.Match[str]) -> str:
        term = terms.get(word[0].lower())
        if term is None:
            return word[0].translate(_ACCENTS)
        used_terms[word[0].lower()] = term
        return term

    return _WORD.sub(translate_word, text)


def _split_sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence.strip()]


def _build_memory_flag(segment: str) -> dict[str, Any]:
    """Builds the answer of a translation memory; `match` (0.5 to 1) follows from a checksum of the segment."""
    match = 0.5 + crc32(segment.encode()) % 51 / 100
    return {"segment": segment, "match": round(match, 2), "used": match >= 0.75}
