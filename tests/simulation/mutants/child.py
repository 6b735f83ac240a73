"""Runs seeds against one mutant until an invariant is violated; its own process imports nothing before."""

import json
import sys
import time

from tests.simulation.mutants.catalogue import MUTANTS
from tests.simulation.mutants.importing import install


def main(name: str, limit: int) -> None:
    """Prints {seeds, seconds, invariant, sentence}; the latter two are null when the mutant survives."""
    install(next(mutant for mutant in MUTANTS if mutant.name == name).edits)
    from tests.simulation.simulate import run_seed  # noqa: PLC0415 - the imports meet the mutant

    began = time.monotonic()
    found: dict[str, object] = {"invariant": None, "sentence": None}
    for seed in range(1, limit + 1):
        try:
            violations = run_seed(seed).violations
        except Exception as error:  # noqa: BLE001 - a mutant may break the simulation itself
            found = {"invariant": "the simulation itself", "sentence": repr(error)}
            break
        if violations:
            found = {"invariant": violations[0].invariant, "sentence": violations[0].sentence}
            break
    print(json.dumps({"seeds": seed, "seconds": time.monotonic() - began, **found}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
