"""Simulates a translation that a reader recognises at once and that is always the same for the same text.

It translates the terms of a small glossary. On all other words it puts accents, or it writes them in the letters of the
target language. Numbers, placeholders, tags and URLs stay unchanged.
"""

import re
from collections.abc import Callable
from typing import Any
from zlib import crc32

GLOSSARY: dict[str, dict[str, str]] = {
    "de": {"hello": "Hallo", "world": "Welt", "invoice": "Rechnung", "order": "Bestellung", "customer": "Kunde"},
    "fr": {"hello": "bonjour", "world": "monde", "invoice": "facture", "order": "commande", "customer": "client"},
    "es": {"hello": "hola", "world": "mundo", "invoice": "factura", "order": "pedido", "customer": "cliente"},
    "ja": {"hello": "こんにちは", "world": "世界", "invoice": "請求書", "order": "注文", "customer": "お客様"},
}
_ACCENTS = str.maketrans("aeiouAEIOUcnyCNY", "áéíóúÁÉÍÓÚçñýÇÑÝ")
_LETTERS: dict[str, tuple[str, int]] = {
    "ja": ("アビカデエフガハイジクラマノオパケルストウベワサヤザ", 2),
    "zh": ("阿比西迪伊弗格赫艾杰克勒姆恩奥普丘尔斯特乌维沃希雅兹", 3),
    "ko": ("아비시디에프지하이자카라마나오파쿠르스타우바와크야즈", 2),
    "ru": ("абцдефгхижклмнопкрстувшхыз", 1),
    "uk": ("абцдефгхіжклмнопкрстувшхиз", 1),
    "el": ("αβκδεφγηιζκλμνοπκρστυβωξψζ", 1),
    "ar": ("ابكدهفغحيجقلمنوبكرستوفوخيز", 1),
    "he": ("אבכדהפגחיזקלמנופקרסתוושכעצ", 1),
    "hi": ("अबसदएफगहइजकलमनओपकरसतउवशखयझ", 1),
    "th": ("อบซดเฟกฮอจคลมนโปขรสทุวซคยฉ", 1),
}
"""{language: (its letters for a to z, of how many letters of a word each one stands for)}."""
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
    write = _letters_of(target.split("-")[0])
    parts, end = [], 0
    for untranslated in _UNTRANSLATED.finditer(text):
        parts += [_translate_words(text[end : untranslated.start()], terms, used_terms, write), untranslated[0]]
        end = untranslated.end()
    parts.append(_translate_words(text[end:], terms, used_terms, write))
    return {
        "text": f"[{target}] {''.join(parts)}",
        "memory_flags": [_build_memory_flag(segment) for segment in _split_sentences(text)],
        "term_pairs": [{"source": source, "target": term} for source, term in used_terms.items()],
    }


def _letters_of(language: str) -> Callable[[str], str]:
    """Returns the function that writes a word in the letters of the language."""
    letters, step = _LETTERS.get(language, (None, 1))
    if letters is None:
        return lambda word: word.translate(_ACCENTS)
    table = str.maketrans("abcdefghijklmnopqrstuvwxyz", letters)
    return lambda word: word.lower()[::step].translate(table)


def _translate_words(text: str, terms: dict[str, str], used_terms: dict[str, str], write: Callable[[str], str]) -> str:
    """Translates each word by `terms` ({source: target}) or lets `write` do it; adds the used terms to `used_terms`."""

    def translate_word(word: re.Match[str]) -> str:
        term = terms.get(word[0].lower())
        if term is None:
            return write(word[0])
        used_terms[word[0].lower()] = term
        return term

    return _WORD.sub(translate_word, text)


def _split_sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence.strip()]


def _build_memory_flag(segment: str) -> dict[str, Any]:
    """Builds the answer of a translation memory; `match` (0.5 to 1) follows from a checksum of the segment."""
    match = 0.5 + crc32(segment.encode()) % 51 / 100
    return {"segment": segment, "match": round(match, 2), "used": match >= 0.75}
