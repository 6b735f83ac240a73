"""Invariants of what the store keeps: every run ends once, in time, by one writer at a time."""

from collections.abc import Iterator
from datetime import timedelta

from shared.domain.attempt import Outcome
from shared.domain.event import EventType, without_deltas
from shared.domain.frozen import replace
from shared.domain.progress import plan_of
from shared.domain.recheck_plan import CLOCK_SKEW
from shared.domain.repair import has_answer_in_hand
from shared.domain.run import SHARDS, Run
from shared.domain.status import Status, Wait
from shared.error_codes import ErrorCode
from tests.simulation.history import Commit, FaultKind
from tests.simulation.invariants.case import MAX_FINAL_BACKOFF, Case, seconds, short
from tests.simulation.queue import FIRST_WINDOW

EARLY_SECONDS = CLOCK_SKEW.total_seconds() + 0.2
MAX_COMMITS = 4
"""Of an undisturbed run without progress reports: accepted, claimed, sent, ended."""
DELETE_COMMITS = 2
REPAIR_COMMITS = 2
MAX_WAITS = 1
"""A run that waits for room in the LLM's thread pool may say so once."""
PROMPT_SECONDS = 3.0
"""In which an undisturbed run starts."""
ROOMY_THREADS = 8


def every_run_ends_in_time(case: Case) -> Iterator[str]:
    for run_id, commit in case.created.items():
        latest = case.latest_end(commit.after)
        ended = case.ended.get(run_id)
        if ended is None:
            yield f"run {short(run_id)} never ended"
        elif ended.at > latest:
            yield f"run {short(run_id)} ended at {ended.at:.0f} s, later than {latest:.0f} s"


def no_deadline_passes_early(case: Case) -> Iterator[str]:
    for run_id, commit in case.ended.items():
        error, deadline = commit.after.error, seconds(commit.after.deadline_at)
        if error is not None and error.code == ErrorCode.DEADLINE_EXCEEDED and commit.at < deadline - EARLY_SECONDS:
            yield f"run {short(run_id)} failed at {commit.at:.1f} s for its deadline of {deadline:.1f} s"


def only_its_own_faults_fail_a_run(case: Case) -> Iterator[str]:
    """Before the deadline neither a lost worker nor a lost message nor a store that was away fails a run."""
    for run_id, commit in case.ended.items():
        error = commit.after.error
        if error is None or error.code == ErrorCode.DEADLINE_EXCEEDED:
            continue
        said = [one.said for one in case.history.llm_answers if one.run_id == run_id and one.said != "answered"]
        lost = len(case.lost_workers(run_id)) + len(case.llm_call_faults(run_id))
        if not said and lost < 1:
            yield f"run {short(run_id)} failed with {error.code} although the LLM did not fail it"
        if error.code == ErrorCode.LLM_MODEL_GONE and commit.after.fallbacks:
            yield f"run {short(run_id)} failed although not all of its models are gone"
        if error.code in (ErrorCode.INTERNAL, ErrorCode.UNDELIVERABLE):
            yield f"run {short(run_id)} failed with {error.code}"


def an_answer_in_hand_is_saved(case: Case) -> Iterator[str]:
    """A result that reached a living worker completes the run, unless the client cancelled it or it had ended."""
    for answer in case.history.answers_in_hand:
        ended = case.ended.get(answer.run_id)
        if answer.job_id is not None or ended is None or ended.at < answer.at:
            continue
        excuses = [fault for fault in case.lost_workers(answer.run_id) if fault.at >= answer.at - 0.001]
        if ended.after.status is Status.FAILED and not excuses and case.store_outage_seconds() < 50:
            yield f"run {short(answer.run_id)} failed although a worker had its result at {answer.at:.1f} s"


def a_first_answer_is_kept(case: Case) -> Iterator[str]:
    """Once a first answer is saved, nothing but a cancel keeps the run from completing."""
    for run_id, commits in case.commits.items():
        for commit in commits:
            if commit.before is None or not has_answer_in_hand(commit.before):
                continue
            is_dropped = commit.after.result is None and commit.after.status is not Status.CANCELLED
            if is_dropped or commit.after.status is Status.FAILED:
                yield f"run {short(run_id)} lost its first answer at {commit.at:.1f} s"


def a_finished_job_is_found(case: Case) -> Iterator[str]:
    """When its re-check was lost, the patrol of the sweeper finds it: each pass looks at one shard."""
    settings = case.plan.settings
    for run_id, commit in case.ended.items():
        run = commit.after
        ends = [job.ends for job in case.jobs.get(run_id, ()) if job.id == run.provider_job_id and job.is_finished]
        if ends and _is_lost_at_deadline(case, run, ends[0]):
            yield f"run {short(run_id)} failed at its deadline; its job was ready at {ends[0]:.0f} s"
        if not ends or run.status is not Status.COMPLETED:
            continue
        known_at = seconds(run.sent_at) if run.sent_at else 0.0  # later than the job's start when its answer was lost
        quiet = max(ends[0], known_at, case.history.faults_ended_at, _last_refused_check(case, run))
        swept = quiet + (SHARDS + 1) * settings.sweep - known_at
        looked_at = known_at + plan_of(run).next_offset(timedelta(seconds=max(swept, 0)))
        latest = looked_at + MAX_FINAL_BACKOFF + 2 * case.max_skew
        if commit.at > latest:
            yield f"run {short(run_id)} ended at {commit.at:.0f} s; its job was ready at {ends[0]:.0f} s"


def _last_refused_check(case: Case, run: Run) -> float:
    """Returns until when the LLM, as its script says, answered no question about the run's provider job."""
    script = case.script(run.id)
    checked_at = [at for at, job_id in case.history.llm_checks if job_id == run.provider_job_id]
    refused = checked_at[: len(script.checks)]
    return refused[-1] + (script.retry_after or 0.0) if refused else 0.0


def _is_lost_at_deadline(case: Case, run: Run, ready_at: float) -> bool:
    """Returns whether a result was there in time and the LLM could be asked for it at the deadline, and was not."""
    if run.error is None or run.error.code != ErrorCode.DEADLINE_EXCEEDED or case.llm_call_faults(run.id):
        return False
    can_ask = all(not (one.llm.submits or one.llm.checks or one.llm.latency > 1) for one in case.plan.submits)
    return can_ask and not case.has_outage_of("llm") and ready_at < seconds(run.deadline_at) - 5


def terminal_states_absorb(case: Case) -> Iterator[str]:
    for run_id, commits in case.commits.items():
        for commit in commits:
            before = commit.before
            if before is None or not before.is_terminal:
                continue
            if _verdict(commit.after) != _verdict(before):
                yield f"run {short(run_id)} was {before.status} and became {commit.after.status} at {commit.at:.1f} s"
            if commit.after.deleted_at is None and commit.after.result != before.result:
                yield f"the result of run {short(run_id)} changed at {commit.at:.1f} s"


def _verdict(run: Run) -> object:
    return run.status, run.error, run.usage, run.completed_at


def histories_only_grow(case: Case) -> Iterator[str]:
    """A write that follows from an older state would lose events."""
    for run_id, commits in case.commits.items():
        for commit in commits:
            if commit.before is None:
                continue
            known, events = without_deltas(commit.before.events), without_deltas(commit.after.events)
            if len(events) < 100 and events[: len(known)] != known:
                yield f"a write at {commit.at:.1f} s by {commit.by} lost events of run {short(run_id)}"
            if commit.after.billed_attempts < commit.before.billed_attempts and not _is_cleared(commit):
                yield f"a write at {commit.at:.1f} s by {commit.by} lost an attempt of run {short(run_id)}"


def _is_cleared(commit: Commit) -> bool:
    """Returns whether the write records that the attempt under way cost nothing after all."""
    return commit.before is not None and commit.before.billed_attempts - commit.after.billed_attempts == 1


def fences_rise(case: Case) -> Iterator[str]:
    for run_id, commits in case.commits.items():
        for commit in commits:
            if commit.before is not None and commit.after.fence not in (commit.before.fence, commit.before.fence + 1):
                yield f"the fence of run {short(run_id)} went from {commit.before.fence} to {commit.after.fence}"


def only_the_claimer_writes_its_outcome(case: Case) -> Iterator[str]:
    """What follows from a submit is written by the instance whose claim the run has."""
    for run_id, commits in case.commits.items():
        claimer = None
        for commit in commits:
            before = commit.before
            if before is not None and commit.after.fence > before.fence:
                claimer = commit.by
            elif before is not None and _is_sent_again(commit):
                yield f"{commit.by} recorded the provider job of run {short(run_id)} twice"
            elif before is not None and _is_outcome_of_submit(commit) and commit.by != claimer:
                yield f"run {short(run_id)} was claimed by {claimer}, and {commit.by} wrote its outcome"


def _is_sent_again(commit: Commit) -> bool:
    before, after = commit.before, commit.after
    return before is not None and None not in (before.sent_at, after.sent_at) and before.sent_at != after.sent_at


def _is_outcome_of_submit(commit: Commit) -> bool:
    before, after = commit.before, commit.after
    if before is None or before.is_terminal or before.provider_job_id is not None or before.fence == 0:
        return False
    is_sent = after.provider_job_id is not None
    is_answered = after.status is Status.COMPLETED and after.result != before.result
    return is_sent or is_answered or after.faults > before.faults


def no_claim_within_a_lease(case: Case) -> Iterator[str]:
    """A lease, or the pause after a fault, ends by the store's clock, whatever the worker's clock says."""
    for run_id, commits in case.commits.items():
        for commit in commits:
            before = commit.before
            if before is None or not _takes_the_run(before, commit.after):
                continue
            if before.due_at is not None and commit.at < seconds(before.due_at) - EARLY_SECONDS:
                due = seconds(before.due_at)
                yield f"{commit.by} took run {short(run_id)} at {commit.at:.1f} s, within a lease until {due:.1f} s"


def _takes_the_run(before: Run, after: Run) -> bool:
    """Returns whether a worker claims the run, or the sweeper frees it, that a lease or a pause may protect."""
    is_protected = before.status is Status.PROCESSING and before.provider_job_id is None
    if not is_protected or before.waiting_for in (Wait.ROOM, Wait.WORKER):
        return False
    return after.fence > before.fence or after.waiting_for == Wait.WORKER


def a_write_says_something_new(case: Case) -> Iterator[str]:
    for run_id, commits in case.commits.items():
        for commit in commits:
            before = commit.before
            if before is not None and replace(commit.after, updated_at=before.updated_at) == before:
                yield f"a write at {commit.at:.1f} s by {commit.by} told nothing new of run {short(run_id)}"


def writes_stay_within_budget(case: Case) -> Iterator[str]:
    """Counts the writes of an undisturbed run; a progress report or a wait adds one, a delete two."""
    for run_id, commits in case.commits.items():
        run = case.history.final.get(run_id)
        if not case.is_undisturbed or run is None:
            continue
        mine = [commit for commit in commits if not commit.by.startswith("sweep_runs")]
        reports = sum(_reports_progress(commit) for commit in mine)
        late = sum(event.type == EventType.LATE_RESULT for event in run.events)
        budget = MAX_COMMITS + MAX_WAITS + reports + late + DELETE_COMMITS * (run.deleted_at is not None)
        budget += REPAIR_COMMITS * len(case.repairs_begun(run_id))
        if case.plan.settings.llm_threads >= ROOMY_THREADS:
            budget -= MAX_WAITS
        if len(mine) > budget:
            yield f"run {short(run_id)} took {len(mine)} writes; its budget is {budget}"


def _reports_progress(commit: Commit) -> bool:
    known = commit.before.events[-1].sequence if commit.before is not None else 0
    return any(event.type == EventType.PROGRESS and event.sequence > known for event in commit.after.events)


def undisturbed_runs_start_at_once(case: Case) -> Iterator[str]:
    """Without faults the queue starts each run, not the sweeper, as long as its first window has room for all."""
    calls = sum(submit.copies + 1 for submit in case.plan.submits if submit.family == "chat")
    if not case.is_undisturbed or case.plan.settings.llm_threads < ROOMY_THREADS or calls > FIRST_WINDOW:
        return
    for run_id, commit in case.created.items():
        run = case.history.final.get(run_id)
        if run is None or run.status is Status.CANCELLED or run_id not in case.ended:
            continue
        waited = (run.started_at - run.created_at).total_seconds() if run.started_at else None
        if waited is None or waited > PROMPT_SECONDS:
            yield f"run {short(run_id)} started after {waited} s without a fault in the way"
        swept = [one for one in case.commits[run_id] if one.by.startswith("sweep_runs")]
        if swept:
            yield f"the sweeper wrote run {short(run_id)} without a fault in the way"
        latest = seconds(run.created_at) + 1.5 * case.script(run_id).takes + 5 * PROMPT_SECONDS
        if commit.at <= latest < case.ended[run_id].at and run.error is None:
            yield f"run {short(run_id)} ended at {case.ended[run_id].at:.1f} s, expected by {latest:.1f} s"


def attempts_have_an_end(case: Case) -> Iterator[str]:
    """When the run has ended, so has its last attempt, and only the last, or one before a repair, may have a result."""
    for run_id, run in case.history.final.items():
        if not run.is_terminal or not run.attempts:
            continue
        if run.attempts[-1].outcome in (None, Outcome.ACCEPTED):
            yield f"run {short(run_id)} ended as {run.status}, its last attempt did not"
        is_completed = run.attempts[-1].outcome == Outcome.COMPLETED
        if is_completed != (run.status is Status.COMPLETED) and not case.repairs_begun(run_id):
            yield f"run {short(run_id)} is {run.status}, its last attempt {run.attempts[-1].outcome}"


def nothing_is_overdue_in_the_end(case: Case) -> Iterator[str]:
    for run_id in case.history.overdue:
        yield f"run {short(run_id)} stands in the list of overdue runs in the end"
    for run_id in case.history.unreadable:
        if run_id not in case.history.foreign_runs:
            yield f"run {short(run_id)} cannot be read"


def the_cache_agrees_with_the_store(case: Case) -> Iterator[str]:
    """Two faults at once may leave an entry until it expires: a worker dies between the two and its message is lost,
    or a cancel is too late, the store is away when it corrects the entry, and its client never learns what came of it.
    """
    sweep = case.plan.settings.sweep
    for run_id, run in case.history.final.items():
        entry = case.history.cache.get(f"llm_job:{run_id}")
        wanted = case.history.expected_cache.get(run_id)
        if case.faults(run_id, FaultKind.LOSS) or _was_cancelled_without_answer(case, run_id):
            continue
        is_left_to_sweeper = run.due_at is not None and seconds(run.due_at) > case.history.ended_at - 2 * sweep
        if run.is_terminal and entry != wanted and not is_left_to_sweeper:
            shown = "nothing" if entry is None else "another state"
            yield f"the result cache shows {shown} of run {short(run_id)}, which is {run.status}"


def _was_cancelled_without_answer(case: Case, run_id: str) -> bool:
    entries = case.submits[case.history.script_ids[run_id]]
    answered = {seen.client for seen in case.history.seen if seen.how == "cancel" and seen.run.id == run_id}
    is_unanswered = any(entry.cancel_after is not None and entry.name not in answered for entry in entries)
    store_faults = [one for one in case.faults(run_id, FaultKind.CALL, FaultKind.OUTAGE) if one.part == "store"]
    return is_unanswered and bool(store_faults)


LIFECYCLE = (
    every_run_ends_in_time,
    no_deadline_passes_early,
    only_its_own_faults_fail_a_run,
    an_answer_in_hand_is_saved,
    a_first_answer_is_kept,
    a_finished_job_is_found,
    terminal_states_absorb,
    histories_only_grow,
    fences_rise,
    only_the_claimer_writes_its_outcome,
    no_claim_within_a_lease,
    a_write_says_something_new,
    writes_stay_within_budget,
    undisturbed_runs_start_at_once,
    attempts_have_an_end,
    nothing_is_overdue_in_the_end,
    the_cache_agrees_with_the_store,
)
