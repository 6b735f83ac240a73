"""Which language tags are valid, and the one form in which each of them is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langcodes import Language

from shared.domain.language_tag import normalise_language_tag

UNCHANGED = [
    "en", "de", "ja", "he", "fil", "cmn", "yue", "arb", "nb", "no", "sh", "cnr",
    "pt-BR", "es-419", "en-GB", "de-DD", "sr-YU", "sq-XK", "en-001",
    "zh-Hant-TW", "zh-Hans-SG", "sr-Latn", "sr-Cyrl-RS", "uz-Arab", "pa-Guru", "pa-Arab-PK", "az-Cyrl", "mn-Mong",
    "mni-Mtei", "sat-Olck", "nod-Lana", "ks-Deva", "ur-Aran", "en-Latn", "ko-Kore", "chr-Cher", "iu-Cans-CA",
    "de-1996", "de-CH-1901", "sl-rozaj-biske-1994", "ja-Latn-hepburn", "el-polyton", "be-tarask", "hy-arevmda",
    "und", "mul", "zxx", "qaa", "qaa-Qaaa-XA", "x-dothraki", "en-x-twain", "x-1-a",
    "de-DE-u-co-phonebk", "en-a-bbb-b-ccc", "hi-t-en-m0-und", "en-u-ca-gregory-x-a1",
]  # fmt: skip

NORMALISED = [
    ("EN", "en"),
    ("pt-br", "pt-BR"),
    ("ZH-HANT-tw", "zh-Hant-TW"),
    ("sl-ROZAJ-Biske", "sl-rozaj-biske"),
    ("DE-u-CO-phonebk", "de-u-co-phonebk"),
    ("en-x-Twain", "en-x-twain"),
    ("iw", "he"),
    ("in-ID", "id-ID"),
    ("ji", "yi"),
    ("mo", "ro"),
    ("mol", "ro"),
    ("tl-PH", "fil-PH"),
    ("deu", "de"),
    ("ger-AT", "de-AT"),
    ("spa-latn-mx", "es-Latn-MX"),
    ("en-UK", "en-GB"),
    ("en-840", "en-US"),
    ("zh-yue-Hant-HK", "yue-Hant-HK"),
    ("zh-cmn-Hans", "cmn-Hans"),
    ("ar-arz", "arz"),
    ("i-klingon", "tlh"),
    ("art-lojban", "jbo"),
    ("zh-min-nan", "nan"),
    ("en-GB-oed", "en-GB-oxendict"),
    ("sgn-BE-FR", "sfb"),
    ("i-default", "en-x-i-default"),
]

INVALID = [
    "", "e", "english", "English", "xx", "jp", "cn", "zz", "1en", "latn", "Deva", "hbs",
    "en-XYZ", "en-usa", "en-yue", "sgn-ase", "zh-yue-cmn", "en-ZQ", "en-099", "en-Xyzz", "en-Latnx", "en-TW-Hant",
    "ru-1918", "de-1901-1901", "en-a-bbb-a-ccc", "en-polyton-US",
    "en-", "-en", "en--US", "en-u", "en-u-", "en-x", "x", "x-", "en-x-123456789", "en-abcdefghi",
    "en_US", "en US", " en", "en\n", "ｅｎ", "ελ", "ar-٠٠١", "en-\ud800", "en;q=0.5", "C.UTF-8", "*",
]  # fmt: skip


@pytest.mark.parametrize("tag", UNCHANGED)
def test_a_valid_tag_in_its_usual_form_stays_as_it_is(tag: str) -> None:
    assert normalise_language_tag(tag) == tag


@pytest.mark.parametrize(("tag", "normal"), NORMALISED)
def test_a_valid_tag_gets_its_usual_form(tag: str, normal: str) -> None:
    assert normalise_language_tag(tag) == normal


@pytest.mark.parametrize("tag", INVALID, ids=repr)
def test_a_tag_with_a_wrong_form_or_an_unregistered_subtag_is_refused(tag: str) -> None:
    assert normalise_language_tag(tag) is None


TAGS = st.one_of(
    st.text(max_size=20),
    st.from_regex(
        r"[a-zA-Z]{2,3}(-[a-zA-Z]{3})?(-[a-zA-Z]{4})?(-[a-zA-Z]{2}|-[0-9]{3})?(-x-[a-z0-9]+)?", fullmatch=True
    ),
    st.lists(st.sampled_from(sorted({part for tag in UNCHANGED for part in tag.split("-")})), min_size=1).map("-".join),
)


@given(tag=TAGS)
def test_any_text_is_refused_or_normalised_once_and_whatever_its_case(tag: str) -> None:
    normal = normalise_language_tag(tag)
    assert not tag.isascii() or normalise_language_tag(tag.swapcase()) == normal  # elsewhere letters may change: ß, SS
    assert normal is None or normalise_language_tag(normal) == normal


def test_every_two_and_three_letter_language_is_stable() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    two = [a + b for a in letters for b in letters]
    normal = {tag: normalise_language_tag(tag) for tag in [*two, *(tag + c for tag in two for c in letters)]}
    assert sum(tag is not None for tag in normal.values()) > 8000
    assert all(tag is None or normalise_language_tag(tag) == tag for tag in normal.values())


def test_no_tag_of_a_caller_stays_in_memory() -> None:
    held = len(Language._INSTANCES) + len(Language._PARSE_CACHE)
    for number in range(100):
        assert normalise_language_tag(f"en-x-{number}")
    assert len(Language._INSTANCES) + len(Language._PARSE_CACHE) == held
