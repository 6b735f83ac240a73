"""The checks of translations find planted faults and leave clean translations alone."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.checks.finding import CheckName, failed_checks
from shared.domain.checks.terms import MAX_TERMS, terms_in
from shared.domain.checks.translation import MAX_CHECKED_CHARACTERS, check_translation
from tests.unit.translations import CLEAN, FAULTY, OTHER_CLEAN, OTHER_FAULTY, Translation

LANGUAGES = st.sampled_from(["en", "de", "ja", "zh-Hant", "th", "ar", "hi", "vi", "tlh", None])
FRAGMENTS = st.sampled_from([
    "1", "1,", "1 111", "٣", "½", "5 mars 2024", "令和5年3月2日", "3月", "萬", "million", "p.m.", "{", "}", "{{x}}",
    "%s", "<b>", "</b>", "<a ", "http://", "@", "a.b@c.de", " ", "word", "です", "的", "\u0301", "\u200f", "\x00",
    "{n, plural,", "9" * 30, "1.2.3.4",
])  # fmt: skip
TEXTS = st.one_of(st.text(max_size=80), st.lists(FRAGMENTS, max_size=40).map("".join))


def checked(translation: Translation) -> list[Any]:
    return failed_checks(
        check_translation(
            translation.source,
            translation.target,
            source_lang=translation.source_lang,
            target_lang=translation.target_lang,
            terms=[{"source": source, "target": target} for source, target in translation.terms],
        )
    )


def check(source: str, target: str, languages: str = "en>de", **options: Any) -> dict[str, bool]:
    source_lang, target_lang = languages.split(">")
    findings = check_translation(source, target, source_lang=source_lang, target_lang=target_lang, **options)
    return {found["check"]: found["ok"] for found in findings}


def test_planted_faults_are_caught_and_clean_translations_raise_no_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    missed = [one for one in FAULTY if one.check not in {found["check"] for found in checked(one)}]
    alarms = [(one, found) for one in CLEAN if (found := checked(one))]
    kinds = {one.fault for one in FAULTY}
    with capsys.disabled():
        print(f"\n{len(FAULTY) - len(missed)} of {len(FAULTY)} faults of {len(kinds)} kinds caught, ", end="")
        print(f"{len(alarms)} false alarms in {len(CLEAN)} clean translations")
    assert (len(FAULTY), len(kinds), len(CLEAN)) == (60, 15, 60)
    assert len(missed) <= 2, missed
    assert len(alarms) <= 2, alarms


def test_harder_translations_raise_few_false_alarms_too() -> None:
    missed = [one for one in OTHER_FAULTY if one.check not in {found["check"] for found in checked(one)}]
    alarms = [(one, found) for one in OTHER_CLEAN if (found := checked(one))]
    assert len(missed) <= 2, missed
    assert len(alarms) <= 2, alarms


def test_every_check_reports_also_when_there_is_nothing_to_find() -> None:
    found = check("Hello", "Hallo")
    assert found == dict.fromkeys([name for name in CheckName if name is not CheckName.TERMS], True)


def test_a_finding_names_what_is_missing_and_what_was_added() -> None:
    findings = check_translation("Pay 120 euros.", "Zahlen Sie 210 Euro.", source_lang="en", target_lang="de")
    [wrong] = failed_checks(findings)
    assert wrong == {
        "check": "numbers",
        "ok": False,
        "detail": "The translation lacks 120. Only the translation has 210.",
    }


def test_a_required_term_is_shown_with_its_translation() -> None:
    terms = [{"source": "invoice", "target": "Rechnung"}, {"source": "ship", "target": "Schiff"}]
    findings = check_translation("The invoice", "Die Quittung", source_lang="en", target_lang="de", terms=terms)
    assert [found for found in findings if found["check"] == "terms"] == [
        {"check": "terms", "ok": False, "detail": "The translation lacks the required term.", "source": "invoice",
         "target": "Rechnung"}
    ]  # fmt: skip


def test_a_term_pair_that_the_translator_reports_must_be_in_its_text() -> None:
    reported = [{"source": "order", "target": "Auftrag"}]
    assert check("Your order", "Ihr Auftrag", reported_terms=reported)["terms"]
    assert not check("Your order", "Ihre Bestellung", reported_terms=reported)["terms"]
    assert "terms" not in check("Your invoice", "Ihre Rechnung", reported_terms=reported)
    required = [{"source": "order", "target": "Bestellung"}]
    assert check("Your order", "Ihre Bestellung", terms=required, reported_terms=reported)["terms"]


def test_a_term_pair_with_languages_counts_between_these_alone() -> None:
    terms = [{"source": "order", "target": "Bestellung", "target_lang": "de"}]
    found = {
        tag: bool(terms_in("An order", terms, source_lang="en", target_lang=tag))
        for tag in ("de", "de-AT", "fr", "den")
    }
    assert found == {"de": True, "de-AT": True, "fr": False, "den": False}


def test_a_term_within_a_longer_one_is_not_required_beside_it() -> None:
    terms = [{"source": "order", "target": "Auftrag"}, {"source": "purchase order", "target": "Bestellung"}]
    found = terms_in("The purchase order", terms, source_lang="en", target_lang="de")
    assert found == ({"source": "purchase order", "target": "Bestellung"},)


def test_a_damaged_or_endless_list_of_terms_does_no_harm() -> None:
    words = [f"word{number}" for number in range(3 * MAX_TERMS)]
    terms: list[Any] = [{"source": 7, "target": None}, {}, *({"source": word, "target": word} for word in words)]
    assert len(terms_in(" ".join(words), terms, source_lang="en", target_lang="de")) == MAX_TERMS


@pytest.mark.parametrize(
    "digits", ["1234.5", "١٢٣٤٫٥", "१२३४.५", "１２３４.５", "1 234,5", "1.234,5", "1\u202f234,5", "1'234.5"]
)
def test_a_number_is_the_same_in_the_notation_of_every_language(digits: str) -> None:
    assert check("It is 1,234.5 long.", f"Es ist {digits} lang.")["numbers"]
    assert not check("It is 1,234.6 long.", f"Es ist {digits} lang.")["numbers"]


@given(source=TEXTS, target=TEXTS, source_lang=LANGUAGES, target_lang=LANGUAGES, term=FRAGMENTS)
def test_no_text_makes_a_check_fail_with_an_error(
    source: str, target: str, source_lang: str | None, target_lang: str | None, term: str
) -> None:
    terms = [{"source": term, "target": target}]
    findings = check_translation(source, target, source_lang=source_lang, target_lang=target_lang, terms=terms)
    assert {"numbers", "language"} <= {found["check"] for found in findings}
    assert all(isinstance(found["ok"], bool) and len(found["detail"]) < 1000 for found in findings)


@pytest.mark.parametrize(
    "piece", ["1,", "1 111 ", "5 May 2024 ", "令和5年3月2日", "{", "<a ", "a@", "http://", "word ", "½"]
)
def test_the_longest_answer_is_checked_in_bounded_time(piece: str) -> None:
    began = time.process_time()
    check((piece * 1500)[:1500], piece * MAX_CHECKED_CHARACTERS)
    assert time.process_time() - began < 2
