"""Invariants of what is paid and of what the limits allow."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta

from shared.adapters.llm.breaker import MAX_FAILURES, MAX_PAUSE_SECONDS
from shared.domain.budget import Balance, cost, day_of, month_of, reservation
from shared.domain.directory import LlmApi
from shared.domain.limits import minute_of
from shared.domain.money import to_nano
from shared.domain.recheck_plan import RecheckPlan
from shared.domain.status import Status
from shared.domain.usage_sums import UsageSum, usage_of
from shared.error_codes import ErrorCode
from tests.simulation.history import FaultKind, LlmAnswer
from tests.simulation.invariants.case import Case, short
from tests.simulation.parts import RUN_PRICE
from tests.simulation.script import JobEnd, LlmFault

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
MAX_RESERVATION = to_nano(0.03)
"""The most that a run of a simulation reserves: three attempts at the price of a run."""
LEAVING = frozenset({LlmFault.GONE, LlmFault.RATE_LIMITED, LlmFault.UNAVAILABLE, JobEnd.INTERRUPTED})
"""What an LLM may say after which a run goes to its next model."""
SAVING_SECONDS = 50.0
"""A store that is away for less keeps no answer in hand from being saved."""


def paid_calls_stay_below_the_maximum(case: Case) -> Iterator[str]:
    for run_id, calls in case.paid.items():
        run = case.history.final.get(run_id)
        if run is not None and len(calls) > run.max_attempts:
            yield f"run {short(run_id)} was paid {len(calls)} times; its maximum is {run.max_attempts}"


def a_further_attempt_has_a_reason(case: Case) -> Iterator[str]:
    """Only a failure that may have been billed, a lost worker or a model that is gone precedes another paid call."""
    for run_id, calls in case.paid.items():
        failures = [one for one in case.history.llm_answers if one.run_id == run_id and one.said in PAID_FAILURES]
        reasons = len(failures) + len(case.lost_workers(run_id)) + len(case.llm_call_faults(run_id))
        reasons += len(case.repairs_begun(run_id))
        reasons += sum(turn.after.waiting_for == ErrorCode.LLM_MODEL_GONE for turn in case.turns(run_id))
        if case.store_outage_seconds() >= SAVING_SECONDS:
            reasons += len(case.faults(run_id, FaultKind.OUTAGE))
        if len(calls) > 1 + reasons:
            yield f"run {short(run_id)} was paid {len(calls)} times for {reasons} failures"


def a_translation_is_repaired_once(case: Case) -> Iterator[str]:
    for run_id in case.commits:
        begun = case.repairs_begun(run_id)
        later = [call for call in case.paid.get(run_id, ()) if begun and call.at > begun[0].at]
        if len(later) > 1:
            yield f"run {short(run_id)} was paid {len(later)} times after its first answer was saved"


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


def _was_checked(case: Case, answer: LlmAnswer) -> bool:
    """Returns whether the LLM was asked about a provider job, which may end and be followed by a new one."""
    earlier = [one for one in case.commits.get(answer.run_id, ()) if one.at < answer.at]
    return bool(earlier) and earlier[-1].after.provider_job_id is not None


def a_waiting_time_is_respected(case: Case) -> Iterator[str]:
    """A submit that the LLM refused for a time is not repeated within it, unless its answer was lost."""
    for answer in case.history.llm_answers:
        script = case.script(answer.run_id)
        wait, is_heard = script.retry_after, script.latency <= 1 and not case.faults(answer.run_id, *FaultKind)
        if wait is None or not is_heard or answer.said != LlmFault.RATE_LIMITED or _was_checked(case, answer):
            continue
        calls = [at for at, run_id in case.history.llm_calls if run_id == answer.run_id and at > answer.at]
        if any(calls and answer.at <= turn.at <= calls[0] for turn in case.turns(answer.run_id)):
            continue  # the call went to another model
        gap = calls[0] - answer.at if calls else wait
        if gap < wait - 1:
            yield f"run {short(answer.run_id)} was sent again after {gap:.0f} s instead of {wait:.0f} s"


def calls_follow_a_claim(case: Case) -> Iterator[str]:
    """The intent to call is stored before the LLM is called."""
    for called_at, run_id in case.history.llm_calls:
        if not any(one.after.fence > 0 and one.at <= called_at for one in case.commits.get(run_id, ())):
            yield f"the LLM was called at {called_at:.1f} s for run {short(run_id)}, which nobody had claimed"


def calls_go_where_their_key_belongs(case: Case) -> Iterator[str]:
    """An attempt, hence its idempotency key, belongs to one model: a run takes a new one with it to the next."""
    for run_id, calls in case.paid.items():
        for call in calls:
            claims = [one.after for one in case.commits.get(run_id, ()) if one.after.fence > 0]
            targets = {(run.api, run.model) for run in claims if run.idempotency_key == call.key}
            if len(targets) != 1 or call.api not in {api for api, _ in targets}:
                yield f"run {short(run_id)} was sent by {call.api} under a key of {len(targets)} models"


def a_fallback_has_a_reason_and_leaves_no_job(case: Case) -> Iterator[str]:
    """A run leaves its model for an answer of the LLM or an open breaker, and no job there that may be at work."""
    for run_id in case.created:
        for turn in case.turns(run_id):
            assert turn.before is not None
            said = {one.said for one in case.history.llm_answers if one.run_id == run_id and one.at <= turn.at}
            if not said & LEAVING and turn.after.waiting_for != ErrorCode.LLM_OVERLOADED:
                yield f"run {short(run_id)} left its model for no answer of the LLM"
            accepted = [one for one in case.paid.get(run_id, ()) if one.key == turn.before.idempotency_key]
            jobs = [case.history.jobs[one.job_id] for one in accepted if one.job_id and one.api == LlmApi.LLM_JOBS]
            is_gone = turn.after.waiting_for == ErrorCode.LLM_MODEL_GONE
            if (
                any(job.is_finished and one.at <= turn.at for job, one in zip(jobs, accepted, strict=False))
                and not is_gone
            ):
                yield f"run {short(run_id)} left a provider job"


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
    return gave_up or is_without_address or bool(is_hindered) or _is_left_alone(case, case.ended[run_id].at)


def _is_left_alone(case: Case, at: float) -> bool:
    """Returns whether a circuit breaker may be open: a server that has failed so often is not even asked to stop."""
    failures = {"timed out", LlmFault.UNAVAILABLE, LlmFault.NOT_CONNECTED, LlmFault.ACCEPTED_LOST}
    recent = [
        one for one in case.history.llm_answers if one.said in failures and at - 2 * MAX_PAUSE_SECONDS <= one.at <= at
    ]
    return len(recent) >= MAX_FAILURES


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


def budgets_hold(case: Case) -> Iterator[str]:
    """At each moment, what open runs have reserved and ended runs have cost is within the budget of their day."""
    used: dict[tuple[str, str], int] = defaultdict(int)
    for commit in case.history.commits:
        run, created, ended = commit.after, case.created.get(commit.run_id), case.ended.get(commit.run_id)
        if created is None or reservation(created.after) == 0:
            continue
        day = (run.tenant_id, day_of(run))
        if commit is created:
            used[day] += reservation(run)
            budget = commit.limits.budget if commit.limits else None
            if budget is not None and budget.day is not None and used[day] > budget.day:
                yield f"run {short(run.id)} was accepted; {run.tenant_id} may then have to pay {used[day]}"
        if commit is ended:
            used[day] += cost(run) - reservation(created.after)


def balances_agree_with_the_runs(case: Case) -> Iterator[str]:
    """What is reserved is that of open runs, and what is spent is the cost of the runs that had a reservation."""
    expected: dict[tuple[str, str], Balance] = defaultdict(Balance)
    for run_id, commit in case.created.items():
        run, amount = commit.after, reservation(commit.after)
        for period in (day_of(run), month_of(run)) if amount else ():
            old, ended = expected[run.tenant_id, period], case.ended.get(run_id)
            change = Balance(spent=cost(ended.after)) if ended else Balance(reserved=amount)
            new = Balance(reserved=old.reserved + change.reserved, spent=old.spent + change.spent)
            expected[run.tenant_id, period] = new
    for key, balance in case.history.balances.items():
        if balance != expected[key]:
            yield f"{key[0]} has {balance} for {key[1]}; its runs have {expected[key]}"


def ended_runs_are_counted_once(case: Case) -> Iterator[str]:
    expected: dict[str, UsageSum] = defaultdict(UsageSum)
    for commit in case.ended.values():
        expected[commit.after.tenant_id] += usage_of(commit.after)
    for tenant_id in expected.keys() | case.history.usage.keys():
        counted = case.history.usage.get(tenant_id, UsageSum())
        if counted != expected[tenant_id]:
            yield f"{tenant_id} has used {expected[tenant_id]}; its sums have {counted}"


def paid_calls_cost_money(case: Case) -> Iterator[str]:
    """A run without a model costs the price of a run for each call that was paid before its end."""
    for run_id, commit in case.ended.items():
        calls = [call for call in case.paid.get(run_id, ()) if call.at <= commit.at]
        is_priced = commit.after.model is None and commit.after.organization_id.startswith("acme")
        if is_priced and cost(commit.after) < len(calls) * to_nano(RUN_PRICE):
            yield f"run {short(run_id)} was paid {len(calls)} times and cost {commit.after.usage.cost_usd}"


def free_money_is_given_out(case: Case) -> Iterator[str]:
    """A submit is refused for the budget only while less than the largest reservation is left."""
    if case.plan.settings.day_usd is None or case.max_skew > 0:
        return  # with a wrong clock a run may belong to another day
    changes = defaultdict(list)
    for run_id, commit in case.created.items():
        changes[commit.after.tenant_id].append((commit.at, reservation(commit.after)))
        if run_id in case.ended and reservation(commit.after):
            ended = case.ended[run_id]
            changes[commit.after.tenant_id].append((ended.at, cost(ended.after) - reservation(commit.after)))
    for refusal in case.history.refusals:
        if refusal.code == ErrorCode.BUDGET_EXHAUSTED:
            known = [change for at, change in changes[refusal.tenant_id] if at <= refusal.at]
            last = [at for at, _ in changes[refusal.tenant_id] if refusal.asked_at <= at <= refusal.at]
            left = to_nano(case.plan.settings.day_usd) - sum(known)
            if left >= MAX_RESERVATION and not last:
                yield f"{refusal.client} was refused at {refusal.at:.1f} s with {left} of the budget left"


MONEY = (
    paid_calls_stay_below_the_maximum,
    a_further_attempt_has_a_reason,
    a_translation_is_repaired_once,
    paid_calls_are_recorded,
    checks_stay_on_the_plan,
    a_waiting_time_is_respected,
    calls_follow_a_claim,
    calls_go_where_their_key_belongs,
    a_fallback_has_a_reason_and_leaves_no_job,
    an_ended_run_stops_its_provider_job,
    limits_hold,
    permits_are_given_back,
    free_places_are_given_out,
    budgets_hold,
    balances_agree_with_the_runs,
    ended_runs_are_counted_once,
    paid_calls_cost_money,
    free_money_is_given_out,
)
