"""Reads the programs in the README, which the tests run as they stand there."""

import re
from textwrap import dedent

from tests.e2e.system import ROOT


def program_with(words: str) -> str:
    """Returns the one indented block of the README that has these words."""
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", (ROOT / "README.md").read_text(), re.MULTILINE)
    [found] = [block for block in blocks if words in block]
    return dedent(found).strip() + "\n"
