"""Checks BCP 47 language tags (RFC 5646) against the IANA registry and gives each one form; langcodes has the data.

Importing langcodes loads its tables for 35 ms, so `Fields.language` imports this module only when it reads a language.
"""

from collections.abc import Mapping

from langcodes import Language
from langcodes.data_dicts import LANGUAGE_REPLACEMENTS, MACROLANGUAGES, TERRITORY_REPLACEMENTS
from langcodes.tag_parser import LanguageTagError, parse_tag


def normalise_language_tag(tag: str) -> str | None:
    """Returns the tag with registered subtags in their usual case (`zh-Hant-TW`), or None when the tag is not valid.

    The language, script, region and variants must be in the IANA Language Subtag Registry. Private use (`qaa`, `x-…`,
    `en-x-…`) and extensions (`de-u-co-phonebk`) stay as they are. Three things are replaced:

    - a deprecated language or tag by what CLDR prefers: `iw` by `he`, `tl` by `fil`, `i-klingon` by `tlh`;
    - a macrolanguage and its extended language by the latter: `zh-yue` by `yue` (RFC 5646 section 4.5);
    - an ISO code that the registry leaves out by the subtag of the same meaning: `deu` by `de`, `en-UK` by `en-GB`.

    Nothing else is replaced. A member of a macrolanguage stays (`cmn`), because `zh` covers other languages too. A
    deprecated region stays (`sr-YU`), because CLDR picks one of several successors. A redundant script stays
    (`en-Latn`), because the caller wrote it. Normalising a normalised tag returns it unchanged.
    """
    if "_" in tag:  # parse_tag reads `en_US` too; BCP 47 has hyphens only
        return None
    subtags: dict[str, list[str]] = {}
    try:
        for kind, subtag in parse_tag(tag):
            subtags.setdefault(kind, []).append(subtag)
    except LanguageTagError:
        return None
    if "grandfathered" in subtags:
        return normalise_language_tag(LANGUAGE_REPLACEMENTS[tag.lower()])
    return _join_registered(subtags)


def _join_registered(subtags: Mapping[str, list[str]]) -> str | None:
    """Joins {kind of subtag as langcodes names it: subtags}; returns None when one of them is not registered."""
    language = _find_language(*subtags["language"], *subtags.get("extlang", ()))
    script = subtags.get("script", [])
    region = [_find_region(code) for code in subtags.get("territory", ())]
    variants, extensions = subtags.get("variant", []), subtags.get("extension", [])
    if language is None:
        return None
    # Only the constructor is used: Language.get and standardize_tag keep each tag in memory for ever, and callers
    # could send any number of different ones.
    checked = Language(
        language=language,
        script="".join(script) or None,
        territory="".join(region) or None,
        variants=variants,
        extensions=extensions,
    )
    if not checked.is_valid():
        return None
    return "-".join([language, *script, *region, *variants, *extensions, *subtags.get("private", ())])


def _find_language(language: str, *extlangs: str) -> str | None:
    """Returns the registered subtag, or None when an extended language does not belong to the macrolanguage before it.

    Without this check, `en-usa` (meant as English of the USA) would become `usa` (Usarufa, spoken in Papua New Guinea).
    """
    if extlangs:
        if MACROLANGUAGES.get(extlangs[0]) != language or len(extlangs) > 1:
            return None
        language = extlangs[0]
    # A code may be replaced twice: `mol` by `mo`, which is replaced by `ro`. A replacement with a script or region
    # (CLDR has `sr-ME` for `cnr`) is left out, because it says more than the caller did.
    while (preferred := LANGUAGE_REPLACEMENTS.get(language, "-")).isalpha():
        language = preferred
    return language


def _find_region(code: str) -> str:
    if Language(territory=code).is_valid():
        return code
    return TERRITORY_REPLACEMENTS.get(code.lower(), code)
