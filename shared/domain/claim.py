"""Compares a run as a worker holds it with the run as it is stored, after another writer has saved it."""

from shared.domain.progress import Finished, JobCreated, Observation
from shared.domain.repair import has_answer_in_hand
from shared.domain.run import Run


def is_same_claim(current: Run, mine: Run) -> bool:
    """Returns whether the stored run is still open, under the worker's claim and in its attempt."""
    names = ("fence", "attempt", "provider_job_id")
    return all(getattr(current, name) == getattr(mine, name) for name in names) and not current.is_terminal


def has_saved(current: Run, mine: Run, observed: Observation) -> bool:
    """Returns whether the store has what follows from the observation: its job, or the answer that is in hand."""
    if current.is_terminal or current.fence != mine.fence:
        return False
    if isinstance(observed, JobCreated):
        return current.provider_job_id == observed.provider_job_id
    return isinstance(observed, Finished) and mine.result is None and has_answer_in_hand(current)
