"""Keeps runs as this process has last saved or read them, so that its next step with a run need not read them."""

from shared.domain.run import Run

MAX_RUNS = 2000
"""A run takes a few KiB; its input is stored in parts when it is larger."""
MAX_CHECKS = 4
"""How many re-checks of a job get the same state, so that a job whose run another process has ended is left soon."""


class LastSavedRuns:
    """Hands each state over once: whoever comes again, perhaps because the state is out of date, reads the store.

    The re-checks of a provider job get it several times, because nearly all of them change nothing. Only open runs
    without a result are kept, since no worker goes on with others.
    """

    def __init__(self) -> None:
        self._runs: dict[str, tuple[Run, int]] = {}
        """{id: (run, how often it may be handed over)}, in the order of saves and reads."""

    def put(self, run: Run) -> None:
        """Keeps the run in place of its earlier states, and drops the oldest of too many."""
        self.drop(run.id)
        if not run.is_terminal and run.result is None:
            self._runs[run.id] = (run, MAX_CHECKS if run.provider_job_id else 1)
        if len(self._runs) > MAX_RUNS:
            self.drop(next(iter(self._runs)))

    def put_read(self, run: Run) -> None:
        """Keeps what was read, unless a save has put a later state meanwhile."""
        if run.id not in self._runs:
            self.put(run)

    def take(self, run_id: str) -> Run | None:
        run, uses = self._runs.pop(run_id, (None, 0))
        if run is not None and uses > 1:
            self._runs[run_id] = (run, uses - 1)
        return run

    def drop(self, run_id: str) -> None:
        self._runs.pop(run_id, None)
