"""Checks what a translation keeps unchanged: placeholders, tags, URLs and e-mail addresses."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from shared.domain.checks.finding import CheckName, finding, missing_and_added

_ICU = re.compile(r"\{\s*(\w{1,80})\s*,\s*(plural|selectordinal|select)\b")
"""The head of an ICU message, {count, plural, …}; its inner messages are translated."""
_SIMPLE = (
    r"\{\{\{?\s*[#/^&]?[\w.\-@$]{1,80}(?:\s*\|[^{}\n]{0,80})?\s*\}\}\}?",  # {{name}}, {{#list}}, {{ name|filter }}
    r"\$\{\s*[\w.\-]{1,80}\s*\}",  # ${name}
    r"%\{[\w.\-]{1,80}\}",  # %{name}
    r"\{\s*[\w.\-\[\]]{0,80}(?:![rsa])?(?::[^{}\n\s]{0,40})?\s*\}",  # {name}, {0}, {}, {price:.2f}
    r"%\([\w.\-]{1,80}\)[-+0# ]?\d{0,4}(?:\.\d{1,3})?[a-zA-Z]",  # %(name)s
    r"(?<![\d%٪])%(?:\d{1,2}\$)?[-+0#]?\d{0,4}(?:\.\d{1,3})?(?:hh|h|ll|l|z)?[sdifuxXoeEgGc@](?![A-Za-z])",  # %s, %1$d
    r"</?\d{1,3}\s?/?>",  # <0>, </0>, <1/>
)
_PLACEHOLDER = re.compile("|".join(_SIMPLE))
_TAG = re.compile(r"<(/?)([A-Za-z][\w:.\-]{0,60})((?:\s[^<>]{0,1000})?)(/?)>")
_KEPT_ATTRIBUTE = re.compile(
    r"""\b(href|src|id|class|name|rel|target)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE
)
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
_URL_CHARACTER = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]"
_URL = re.compile(
    rf"(?<![A-Za-z0-9])(?:https?|ftp)://{_URL_CHARACTER}{{1,2000}}|(?<![\w.@/])www\.[A-Za-z0-9]{_URL_CHARACTER}{{1,2000}}"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){0,5}\.[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9])"
)
_PROTECTED = re.compile("|".join(f"(?:{p.pattern})" for p in (_URL, _EMAIL)))
_MARKS = {
    _URL: ("://", "www."),
    _EMAIL: ("@",),
    _PROTECTED: ("://", "www.", "@"),
    _TAG: ("<",),
    _PLACEHOLDER: ("{", "%", "<"),
}
"""{pattern: what each of its matches contains}. Most texts have none of it, so that no search tries each place."""


def without_markup(text: str) -> str:
    """Returns the text with blanks in place of URLs, addresses, tags and placeholders: what is translated."""
    for pattern in (_PROTECTED, _TAG, _PLACEHOLDER):
        text = _without(pattern, text)
    return text


def check_placeholders(source: str, target: str) -> Mapping[str, Any]:
    wanted = list(_placeholders(source))
    return finding(CheckName.PLACEHOLDERS, _changes(wanted, list(_placeholders(target))), _kept(wanted, "placeholder"))


def check_tags(source: str, target: str) -> Mapping[str, Any]:
    wanted = list(_tags(source))
    problem = _changes(wanted, list(_tags(target)))
    if problem is None and _is_balanced(source) and not _is_balanced(target):
        problem = "The tags of the translation are not nested as they should be."
    return finding(CheckName.TAGS, problem, _kept(wanted, "tag"))


def check_urls(source: str, target: str) -> Mapping[str, Any]:
    wanted = list(_addresses(source))
    return finding(CheckName.URLS, _changes(wanted, list(_addresses(target))), _kept(wanted, "address"))


def _changes(wanted: list[str], found: list[str]) -> str | None:
    """Returns a sentence about what is missing and what was added, in any order; None when nothing is."""
    if wanted == found:
        return None
    before, after = Counter(wanted), Counter(found)
    return missing_and_added((before - after).elements(), (after - before).elements())


def _may_match(pattern: re.Pattern[str], text: str) -> bool:
    for mark in _MARKS[pattern]:  # noqa: SIM110 - any() with a generator takes three times as long
        if mark in text:
            return True
    return False


def _without(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(" ", text) if _may_match(pattern, text) else text


def _kept(things: list[str], name: str) -> str:
    return f"All {len(things)} kept." if things else f"The text has no {name}."


def _placeholders(text: str) -> Iterator[str]:
    """Yields each placeholder without the blanks in it."""
    if not _may_match(_PLACEHOLDER, text):
        return
    text = _without(_PROTECTED, text)
    messages = [f"{{{name},{kind}" for name, kind in _ICU.findall(text)]
    yield from messages
    for match in _PLACEHOLDER.finditer(text):
        if not (messages and re.search(r"(?:\b\w+|=\d+)\s*$", text[max(match.start() - 20, 0) : match.start()])):
            yield re.sub(r"\s+", "", match[0])


def _tags(text: str) -> Iterator[str]:
    """Yields each tag with the attributes that nobody translates, in one spelling."""
    for closing, name, attributes, _ in _TAG.findall(text) if _may_match(_TAG, text) else ():
        kept = sorted(
            f" {key.lower()}={value.strip(chr(34) + chr(39))}" for key, value in _KEPT_ATTRIBUTE.findall(attributes)
        )
        yield f"<{closing}{name.lower()}{''.join(kept)}>"


def _is_balanced(text: str) -> bool:
    """Returns whether each tag is closed by its own end tag, in the right order."""
    open_tags: list[str] = []
    for closing, name, _, self_closing in _TAG.findall(text):
        if self_closing or name.lower() in _VOID:
            continue
        if not closing:
            open_tags.append(name.lower())
        elif not open_tags or open_tags.pop() != name.lower():
            return False
    return not open_tags


def _addresses(text: str) -> Iterator[str]:
    """Yields each URL without the punctuation behind it, and each e-mail address."""
    for match in _URL.finditer(text) if _may_match(_URL, text) else ():
        url = match[0].rstrip(".,;:!?'*")
        while url.endswith((")", "]")) and url.count(url[-1]) > url.count("(["[")]".index(url[-1])]):
            url = url[:-1].rstrip(".,;:!?'*")
        yield url
    if _may_match(_EMAIL, text):
        yield from _EMAIL.findall(_without(_URL, text))
