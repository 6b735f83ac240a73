"""The command behind `make mutants`: shows for each mutant after how many seeds the simulation caught it."""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from tests.simulation.mutants.catalogue import MUTANTS, Mutant

MAX_SEEDS = 2000
MAX_SECONDS = 400.0
WIDTHS = "{:<44} {:<50} {:>6} {:>7}  {}"


class Caught(Struct, frozen=True, kw_only=True):
    mutant: Mutant
    seeds: int
    seconds: float
    by: str | None
    """The invariant; None when the mutant survived."""


def main(arguments: list[str]) -> int:
    """Returns 1 when a mutant survives."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=MAX_SEEDS, help="how many seeds a mutant may survive at most")
    parser.add_argument("--only", default="", help="only mutants whose names contain this")
    options = parser.parse_args(arguments)
    mutants = [mutant for mutant in MUTANTS if options.only in mutant.name]
    began, survivors = time.monotonic(), 0
    print(WIDTHS.format("mutant", "guarantee", "seeds", "seconds", "caught by"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for caught in pool.map(lambda mutant: run_mutant(mutant, options.seeds), mutants):
            survivors += caught.by is None
            by = caught.by.replace("_", " ") if caught.by else "nothing: IT SURVIVES"
            row = (caught.mutant.name, caught.mutant.guarantee, caught.seeds, f"{caught.seconds:.1f}", by)
            print(WIDTHS.format(*row), flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants caught in {time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


def run_mutant(mutant: Mutant, seeds: int) -> Caught:
    """Raises CalledProcessError when the mutant does not fit the code any more."""
    command = [sys.executable, "-m", "tests.simulation.mutants.child", mutant.name, str(seeds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
    if done.returncode != 0:
        print(f"mutant “{mutant.name}” cannot run:\n{done.stderr}", file=sys.stderr)
        done.check_returncode()
    result = json.loads(done.stdout.splitlines()[-1])
    return Caught(mutant=mutant, seeds=result["seeds"], seconds=result["seconds"], by=result["invariant"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
