"""Mutants fit the code that they change, and the simulation notices them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.simulation.mutants.__main__ import run_mutant
from tests.simulation.mutants.catalogue import MUTANTS, Mutant

QUICKLY_CAUGHT = ("no compare-and-set", "call before claim", "errors are 503")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_stands_in_the_code_once(mutant: Mutant) -> None:
    for edit in mutant.edits:
        spec = find_spec(edit.module)
        assert spec is not None and spec.origin is not None
        assert Path(spec.origin).read_text().count(edit.old) == 1, edit.old


def test_no_two_mutants_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("name", QUICKLY_CAUGHT)
def test_a_mutant_is_caught_within_a_few_seeds(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    assert run_mutant(mutant, 20).by is not None
