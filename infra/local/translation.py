"""A translation that anybody can see is one, and that is the same each time: the simulator's whole talent.

Terms of a small glossary are translated; numbers, placeholders, tags and addresses stay; other words get accents.
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
_KEPT = re.compile(
    r"https?://\S+|<[^<>]+>|\{\{[^{}]*\}\}|\{[^{}]*\}|%\([^()]*\)[a-z]|%[a-z]|\$\{[^{}]*\}|\$\w+|\[\[[^\[\]]*\]\]|\d[\d.,:]*"
)
_WORD = re.compile(r"[^\W\d_]+")


def translated(text: str, *, target_lang: str | None) -> dict[str, Any]:
    """{text, memory_flags, term_pairs} as the llm_jobs protocol delivers them."""
    target = target_lang or "en"
    terms = GLOSSARY.get(target.split("-")[0], {})
    used: dict[str, str] = {}
    parts, end = [], 0
    for kept in _KEPT.finditer(text):
        parts += [_words(text[end : kept.start()], terms, used), kept[0]]
        end = kept.end()
    parts.append(_words(text[end:], terms, used))
    return {
        "text": f"[{target}] {''.join(parts)}",
        "memory_flags": [_memory_flag(segment) for segment in _segments(text)],
        "term_pairs": [{"source": source, "target": term} for source, term in used.items()],
    }


def _words(text: str, terms: dict[str, str], used: dict[str, str]) -> str:
    def word(match: re.Match[str]) -> str:
        term = terms.get(match[0].lower())
        if term is None:
            return match[0].translate(_ACCENTS)
        used[match[0].lower()] = term
        return term

    return _WORD.sub(word, text)


def _segments(text: str) -> list[str]:
    return [segment.strip() for segment in re.split(r"(?<=[.!?])\s+", text) if segment.strip()]


def _memory_flag(segment: str) -> dict[str, Any]:
    """How well the translation memory knows the segment: as good as chance, but always the same."""
    match = 0.5 + crc32(segment.encode()) % 51 / 100
    return {"segment": segment, "match": round(match, 2), "used": match >= 0.75}
