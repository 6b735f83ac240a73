"""Keeps runs as this process has last saved them, so that its next step with a run need not read what it knows."""

from shared.domain.run import Run

MAX_RUNS = 2000
"""A run takes a few KiB; its input is stored in parts when it is larger."""


class LastSavedRuns:
    """Hands each saved state over once: whoever comes again, perhaps because the state is out of date, reads the store.

    Only open runs without a result are kept, since no worker goes on with others.
    """

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        """{id: run}, in the order of their saves."""

    def put(self, run: Run) -> None:
        """Keeps the run in place of its earlier states, and drops the oldest of too many."""
        self.drop(run.id)
        if not run.is_terminal and run.result is None:
            self._runs[run.id] = run
        if len(self._runs) > MAX_RUNS:
            self.drop(next(iter(self._runs)))

    def take(self, run_id: str) -> Run | None:
        return self._runs.pop(run_id, None)

    def drop(self, run_id: str) -> None:
        self._runs.pop(run_id, None)
