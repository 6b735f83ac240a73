"""What the store knows of durations: all that was found, and nothing else."""

from collections import Counter
from collections.abc import Iterator

from shared.domain.durations import Durations
from shared.domain.run import Run
from shared.domain.status import Status
from shared.usecases.known_durations import kind_key
from tests.simulation.history import FaultKind
from tests.simulation.invariants.case import Case

ROUNDING = 0.01
"""The part of a job by which the sum of rounded weights may be too large."""


def durations_are_those_of_jobs_that_were_found(case: Case) -> Iterator[str]:
    """Each duration stands for one check that found the end of a job, and without faults some are kept."""
    runs_of_jobs = {
        one.after.provider_job_id: one.after
        for commits in case.commits.values()
        for one in commits
        if one.after.provider_job_id is not None
    }
    found = Counter[str]()
    for at, job_id in case.history.llm_checks:
        job = case.history.jobs[job_id]
        if job_id in runs_of_jobs and at >= job.ends - 1:
            found[kind_key(runs_of_jobs[job_id])] += 1
    for key, known in case.history.durations.items():
        if known.jobs > found[key] + ROUNDING:
            yield f"{known.jobs:.2f} durations are known of {key}, and {found[key]} ends of jobs were found"
    if not _are_disturbed(case):
        for key in sorted({kind_key(run) for run in _completed_by_a_check(case)}):
            if case.history.durations.get(key, Durations()).jobs == 0:
                yield f"no duration is known of {key}, whose jobs were found"


def _completed_by_a_check(case: Case) -> Iterator[Run]:
    for commit in case.ended.values():
        before, is_completed = commit.before, commit.after.status is Status.COMPLETED
        if is_completed and before is not None and before.provider_job_id and not before.faults:
            yield before


def _are_disturbed(case: Case) -> bool:
    """Returns whether a process was lost, or the store of the durations was away."""
    met = [fault for faults in case.history.faults.values() for fault in faults]
    return bool(case.plan.faults) or any(
        fault.kind in (FaultKind.CRASH, FaultKind.FREEZE) or fault.part == "durations" for fault in met
    )


DURATIONS = (durations_are_those_of_jobs_that_were_found,)
