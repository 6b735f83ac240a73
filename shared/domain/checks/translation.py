"""Checks a translation without an LLM: what can be counted and compared, in bounded time."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain.checks.dates import check_dates
from shared.domain.checks.language import check_language, check_length, check_untranslated
from shared.domain.checks.markup import check_placeholders, check_tags, check_urls, without_markup
from shared.domain.checks.numbers import check_numbers
from shared.domain.checks.stop_words import primary
from shared.domain.checks.terms import check_terms, terms_in

MAX_CHECKED_CHARACTERS = 20_000
"""Longer texts are cut before they are checked; an input has 1500 at most."""


def check_translation(
    source: str,
    target: str,
    *,
    source_lang: str | None,
    target_lang: str | None,
    terms: Sequence[Mapping[str, Any]] = (),
    reported_terms: Sequence[Mapping[str, Any]] = (),
) -> tuple[Mapping[str, Any], ...]:
    """Returns [{check, ok, detail, source?, target?}]: a finding for each required term, and one for each other check.

    The languages are BCP 47 tags. `terms` are the required pairs {source, target}, and `reported_terms` the pairs that
    the translator says it used; of a pair whose source is not in the text nothing is said.
    """
    source, target = source[:MAX_CHECKED_CHARACTERS], target[:MAX_CHECKED_CHARACTERS]
    tags = {"source_lang": source_lang, "target_lang": target_lang}
    languages = {"source_lang": primary(source_lang), "target_lang": primary(target_lang)}
    required = terms_in(source, terms, **tags)
    named = {term["source"].casefold() for term in required}
    reported = [term for term in terms_in(source, reported_terms, **tags) if term["source"].casefold() not in named]
    plain_source, plain_target = without_markup(source), without_markup(target)
    dates = check_dates(plain_source, plain_target, **languages)
    return (
        *check_terms(target, [*required, *reported], target_lang=languages["target_lang"]),
        check_numbers(dates.source, dates.target, **languages),
        dates.finding,
        check_placeholders(source, target),
        check_tags(source, target),
        check_urls(source, target),
        check_length(plain_source, plain_target, **languages),
        check_language(plain_source, plain_target, source_tag=source_lang, target_tag=target_lang),
        check_untranslated(plain_source, plain_target, **languages),
    )
