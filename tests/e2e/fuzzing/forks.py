"""Runs schemathesis several times side by side, in forks of one process that has loaded its code and the document.

    python -m tests.e2e.fuzzing.forks openapi.json '{"name of a run": ["its", "words"]}'

The words are those of schemathesis's command line. Each run writes its output into the file "name.txt" of the current
folder. Prints the exit codes as JSON, by the names.
"""

import json
import os
import sys

import schemathesis.cli.commands.run.executor
import schemathesis.openapi
from hypothesis.strategies import characters

import tests.e2e.fuzzing.accepted  # noqa: F401


def load(document: str) -> None:
    """Does what each run would do anew: reads the document, and makes Hypothesis's table of all characters."""
    schemathesis.openapi.from_path(document)
    characters(codec="utf-8").validate()


def run(name: str, words: list[str]) -> None:
    with open(f"{name}.txt", "wb") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    schemathesis.cli.schemathesis(words)  # ends with SystemExit


def main() -> None:
    load(sys.argv[1])
    started = {}
    for name, words in json.loads(sys.argv[2]).items():
        if (process := os.fork()) == 0:
            run(name, words)
        started[name] = process
    print(json.dumps({name: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for name, pid in started.items()}))


if __name__ == "__main__":
    main()
