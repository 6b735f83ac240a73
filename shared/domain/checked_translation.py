"""Applies the checks of translations to runs: which terms a run requires, and what the checks find in its result.

Importing the checks compiles their patterns and tables of words, so it waits until the first translation needs them.
"""

from collections.abc import Mapping
from typing import Any

from shared.domain.directory import Organization
from shared.domain.frozen import replace
from shared.domain.result import Result
from shared.domain.run import Run
from shared.domain.status import Kind
from shared.domain.translation_prompt import is_instructed, read_translation


def required_terms(
    content: Mapping[str, Any], organization: Organization, *, source_lang: str | None, target_lang: str | None
) -> tuple[Mapping[str, str], ...]:
    """Returns the organization's term pairs whose source stands in the text of a translation; `content` is {text}."""
    if not organization.term_pairs:
        return ()
    from shared.domain.checks.terms import terms_in  # noqa: PLC0415

    return terms_in(content["text"], organization.term_pairs, source_lang=source_lang, target_lang=target_lang)


def with_checks(run: Run, result: Result) -> Result:
    """Returns the result of a translation with what the checks find in it; the result of a job stays as it is.

    The answer of a chat model is read first (see read_translation).
    """
    text = run.input.get("text")
    if run.kind is Kind.JOB or not isinstance(text, str):
        return result
    from shared.domain.checks.translation import check_translation  # noqa: PLC0415

    if is_instructed(run):
        result = read_translation(result)
    checks = check_translation(
        text,
        result.text,
        source_lang=run.source_lang,
        target_lang=run.target_lang,
        terms=run.terms,
        reported_terms=result.term_pairs,
    )
    return replace(result, checks=checks)
