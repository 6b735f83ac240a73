"""Invariants of what is paid and of what the limits allow."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta

from shared.domain.limits import minute_of
from shared.domain.recheck_plan import RecheckPlan
from shared.domain.status import Status
from shared.error_codes import ErrorCode
from tests.simulation.history import FaultKind
from tests.simulation.invariants.case import Case, short
from tests.simulation.script import LlmFault

PAID_FAILURES = frozenset(
    {
        "is accepted and gets no answer",
        "is accepted and the connection is lost",
        "is accepted and the answer is not JSON",
        "is accepted and the answer lacks what it must hold",
        "timed out",
        "fails in passing",
    }
)
"""What an LLM may say after which a further paid attempt is right."""
SAVING_SECONDS = 50.0
"""A store that is away for less keeps no answer in hand from being saved."""


def paid_calls_stay_below_the_maximum(case: Case) -> Iterator[str]:
    for run_id, calls in case.paid.items():
        run = case.history.final.get(run_id)
        if run is not None and len(calls) > run.max_attempts:
            yield f"run {short(run_id)} was paid {len(calls)} times; its maximum is {run.max_attempts}"


def a_further_attempt_has_a_reason(case: Case) -> Iterator[str]:
    """Only a failure that may have been billed, or a lost worker, is followed by another paid call."""
    for run_id, calls in case.paid.items():
        failures = [one for one in case.history.llm_answers if one.run_id == run_id and one.said in PAID_FAILURES]
        reasons = len(failures) + len(case.lost_workers(run_id)) + len(case.llm_call_faults(run_id))
        if case.store_outage_seconds() >= SAVING_SECONDS:
            reasons += len(case.faults(run_id, FaultKind.OUTAGE))
        if len(calls) > 1 + reasons:
            yield f"run {short(run_id)} was paid {len(calls)} times for {reasons} failures"


def paid_calls_are_recorded(case: Case) -> Iterator[str]:
    for run_id, calls in case.paid.items():
        run = case.history.final.get(run_id)
        if run is not None and len(calls) > run.billed_attempts:
            yield f"run {short(run_id)} was paid {len(calls)} times and records {run.billed_attempts}"


def checks_stay_on_the_plan(case: Case) -> Iterator[str]:
    """Repeated deliveries and sweeps ask for the tasks of one plan, so their chains of re-checks become one again."""
    checks: Counter[str] = Counter(job_id for _, job_id in case.history.llm_checks)
    for job_id, count in checks.items():
        job = case.history.jobs[job_id]
        times = [at for at, checked in case.history.llm_checks if checked == job_id]
        plans = [one.after.plan for one in case.commits.get(job.run_id, ()) if one.after.provider_job_id == job_id]
        plan = RecheckPlan(chosen=plans[0] if plans else ())
        planned = plan.checks_until(timedelta(seconds=max(times) - job.starts))
        spare = 4 + 2 * len(case.history.faults.get(job.run_id, ()))
        if count > 1.3 * planned + spare:
            yield f"{job_id} was checked {count} times; its plan has {planned} checks"


def a_waiting_time_is_respected(case: Case) -> Iterator[str]:
    """A submit that the LLM refused for a time is not repeated within it, unless its answer was lost."""
    for answer in case.history.llm_answers:
        script = case.script(answer.run_id)
        wait, is_heard = script.retry_after, script.latency <= 1 and not case.faults(answer.run_id, *FaultKind)
        if wait is None or not is_heard or answer.said != LlmFault.RATE_LIMITED:
            continue
        calls = [at for at, run_id in case.history.llm_calls if run_id == answer.run_id and at > answer.at]
        gap = calls[0] - answer.at if calls else wait
        if gap < wait - 1:
            yield f"run {short(answer.run_id)} was sent again after {gap:.0f} s instead of {wait:.0f} s"


def calls_follow_a_claim(case: Case) -> Iterator[str]:
    """The intent to call is stored before the LLM is called."""
    for called_at, run_id in case.history.llm_calls:
        if not any(one.after.fence > 0 and one.at <= called_at for one in case.commits.get(run_id, ())):
            yield f"the LLM was called at {called_at:.1f} s for run {short(run_id)}, which nobody had claimed"


def an_ended_run_stops_its_provider_job(case: Case) -> Iterator[str]:
    """A job that a worker knows of is cancelled when its run was cancelled or its deadline has passed."""
    cancelled = {job_id for _, job_id in case.history.cancels}
    for answer in case.history.answers_in_hand:
        ended = case.ended.get(answer.run_id)
        if answer.job_id is None or ended is None or answer.job_id in cancelled:
            continue
        code = ended.after.error.code if ended.after.error else None
        is_stopped = ended.after.status is Status.CANCELLED or code == ErrorCode.DEADLINE_EXCEEDED
        works_on = case.history.jobs[answer.job_id].ends > max(ended.at, answer.at) + 2
        if is_stopped and works_on and not _may_be_left(case, answer.run_id, answer.job_id):
            yield f"run {short(answer.run_id)} is {ended.after.status}; its job {answer.job_id} goes on"


def _may_be_left(case: Case, run_id: str, job_id: str) -> bool:
    """Stopping is tried once: a fault in its way leaves the job; so does a run that had given it up before."""
    gave_up = any(
        commit.before is not None and commit.before.provider_job_id == job_id and commit.after.provider_job_id is None
        for commit in case.commits[run_id]
    )
    is_without_address = any(fault.part == "directory" for fault in case.history.faults.get(None, ()))
    is_hindered = case.lost_workers(run_id) or case.faults(run_id, FaultKind.CALL, FaultKind.OUTAGE)
    return gave_up or is_without_address or bool(is_hindered)


def limits_hold(case: Case) -> Iterator[str]:
    submits: Counter[object] = Counter()
    for commit in case.created.values():
        run, limits = commit.after, commit.limits
        if limits is None:
            continue
        if limits.open_runs is not None and commit.open_runs >= limits.open_runs:
            yield f"run {short(run.id)} is open run number {commit.open_runs + 1} of {run.tenant_id}"
        minute = (run.user_id, minute_of(run.created_at))
        submits[minute] += 1
        if limits.submits_a_minute is not None and submits[minute] > limits.submits_a_minute:
            yield f"run {short(run.id)} is submit number {submits[minute]} of {run.user_id} in its minute"


def permits_are_given_back(case: Case) -> Iterator[str]:
    for tenant_id, holders in case.history.permits_left.items():
        for run_id in holders:
            run = case.history.final.get(run_id)
            if run is None or run.is_terminal:
                yield f"run {short(run_id)} of {tenant_id} has ended and holds a permit"


def free_places_are_given_out(case: Case) -> Iterator[str]:
    """A submit is refused for the limit of open runs only while there are as many."""
    limit = case.plan.settings.open_runs
    if limit is None:
        return
    changes = defaultdict(list)
    for run_id, commit in case.created.items():
        changes[commit.after.tenant_id].append((commit.at, 1))
        if run_id in case.ended:
            changes[commit.after.tenant_id].append((case.ended[run_id].at, -1))
    for refusal in case.history.refusals:
        if refusal.code == ErrorCode.TOO_MANY_OPEN_RUNS:
            known = [change for at, change in sorted(changes[refusal.tenant_id]) if at <= refusal.at]
            last = [at for at, change in changes[refusal.tenant_id] if refusal.asked_at <= at <= refusal.at]
            if sum(known) < limit and not last:
                yield f"{refusal.client} was refused at {refusal.at:.1f} s with {sum(known)} of {limit} runs open"


MONEY = (
    paid_calls_stay_below_the_maximum,
    a_further_attempt_has_a_reason,
    paid_calls_are_recorded,
    checks_stay_on_the_plan,
    a_waiting_time_is_respected,
    calls_follow_a_claim,
    an_ended_run_stops_its_provider_job,
    limits_hold,
    permits_are_given_back,
    free_places_are_given_out,
)
