"""How many examples of a property are tried: those that a test wants, or a few with `make test FAST=1`."""

from hypothesis import settings

QUICK = 20


def examples(wanted: int) -> int:
    return min(wanted, QUICK) if settings.get_current_profile_name() == "fast" else wanted
