"""Runs all parts of the bench, or one: python -m tests.bench [PART]"""

import sys
from importlib import import_module

PARTS = {
    "rechecks": "tests.bench.rechecks",
    "hints": "tests.bench.recheck_hints",
    "peers": "tests.bench.comparison",
    "growth": "tests.bench.growth",
    "open": "tests.bench.open_runs",
    "streams": "tests.bench.streams",
    "google": "tests.bench.google",
    "cold": "tests.bench.cold",
}
"""Parts in the order in which they run. Each names a module, whose `main()` measures and prints."""


def main(only: str = "") -> None:
    if only and only not in PARTS:
        sys.exit(f"There is no part {only}; there are: {', '.join(PARTS)}")
    for part, module in PARTS.items():
        if only in ("", part):
            import_module(module).main()


if __name__ == "__main__":
    main(*sys.argv[1:2])
