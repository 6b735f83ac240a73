"""Each invariant notices what was planted into the history of a simulation without a violation."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.domain.durations import Durations
from shared.domain.event import DELTA
from shared.domain.frozen import replace
from shared.domain.progress import DEADLINE_EXCEEDED
from shared.domain.result import Usage
from shared.domain.run import Run
from shared.domain.status import Status
from tests.simulation.history import Commit, EventAnswer, History, LlmAnswer, Refusal
from tests.simulation.instance import EPOCH
from tests.simulation.invariants import INVARIANTS, check
from tests.simulation.plan import Listen, ListRuns, Plan, PlanSettings, Submit
from tests.simulation.script import LlmFault, LlmScript
from tests.simulation.simulate import run_plan
from tests.simulation.webhook_plants import PLAN_WITH_WEBHOOKS, WEBHOOK_PLANTS, all_are_delivered

SCRIPT = LlmScript(takes=2.0)
GONE = LlmScript(takes=2.0, submits=(LlmFault.GONE,))
PLAN_WITH_FALLBACK = Plan(
    seed=1,
    settings=PlanSettings(),
    clients=(Submit(name="turned", at=0.0, user="bob", family="job", llm=GONE, fallback=True),),
)
PLAN = Plan(
    seed=1,
    settings=PlanSettings(llm_threads=8, open_runs=5, submits_a_minute=6, day_usd=1.0),
    clients=(
        Submit(name="job", at=0.0, user="ann", family="job", llm=SCRIPT, follow="stream", key="k", channel="desk"),
        Submit(name="chat", at=1.0, user="bob", family="chat", llm=SCRIPT),
        Submit(name="gone", at=2.0, user="ann", family="user", llm=SCRIPT, delete=True),
        Submit(name="stopped", at=3.0, user="eve", family="user", llm=LlmScript(takes=30.0), cancel_after=5.0),
        Submit(name="patient", at=4.0, user="ann", family="user", llm=LlmScript(takes=2.0, retry_after=9.0)),
        Submit(name="repaired", at=5.0, user="kim", family="user", llm=LlmScript(takes=2.0, is_bad_at_first=True)),
        Listen(name="listener", at=0.0, user="bob", channel="desk"),
        ListRuns(name="list", at=20.0, user="ann", jobs=True),
    ),
)


def run_of(history: History, client: str) -> Run:
    return history.final[history.accepted_ids[client][0][1]]


def last_commit(history: History, run: Run) -> Commit:
    return next(commit for commit in reversed(history.commits) if commit.run_id == run.id)


def index_of_end(history: History, run: Run) -> int:
    return next(i for i, commit in enumerate(history.commits) if commit.run_id == run.id and commit.after.is_terminal)


def add_commit(history: History, run: Run, at: float | None = None, **changes: object) -> None:
    before = last_commit(history, run).after
    after = replace(before, **changes)  # type: ignore[arg-type]
    history.commits.append(Commit(at=at or history.ended_at, by="process_run/0#9", before=before, after=after))


def change_end(history: History, client: str, **changes: object) -> None:
    index = index_of_end(history, run_of(history, client))
    commit = history.commits[index]
    history.commits[index] = replace(commit, after=replace(commit.after, **changes))  # type: ignore[arg-type]


def change_final(history: History, client: str, **changes: object) -> None:
    run = run_of(history, client)
    history.final[run.id] = replace(run, **changes)  # type: ignore[arg-type]


Plant = Callable[[History], None]


def plant_a_dropped_first_answer(history: History) -> None:
    change_end(history, "repaired", result=None)


def plant_a_second_repair(history: History) -> None:
    calls = [call for call in history.paid if call.run_id == run_of(history, "repaired").id]
    assert len(calls) == 2
    history.paid.append(calls[-1])


def plant_an_end_that_never_comes(history: History) -> None:
    del history.commits[index_of_end(history, run_of(history, "chat"))]


def plant_an_early_deadline(history: History) -> None:
    change_end(history, "chat", status=Status.FAILED, error=DEADLINE_EXCEEDED)


def plant_a_failure_without_cause(history: History) -> None:
    error = replace(DEADLINE_EXCEEDED, code="llm_refused")
    change_end(history, "chat", status=Status.FAILED, error=error)


def plant_a_second_end(history: History) -> None:
    add_commit(history, run_of(history, "job"), status=Status.CANCELLED)


def plant_a_lost_event(history: History) -> None:
    add_commit(history, run_of(history, "job"), events=())


def plant_a_falling_fence(history: History) -> None:
    add_commit(history, run_of(history, "job"), fence=0)


def plant_a_claim_within_a_lease(history: History) -> None:
    index = next(i for i, commit in enumerate(history.commits) if commit.after.fence == 1)
    claim = history.commits[index]
    again = replace(claim.after, fence=2)
    history.commits.insert(index + 1, Commit(at=claim.at + 1, by="recheck_run/0#9", before=claim.after, after=again))


def plant_an_outcome_of_another_worker(history: History) -> None:
    index = index_of_end(history, run_of(history, "chat"))
    history.commits[index] = replace(history.commits[index], by="process_run/1#99")


def plant_a_write_of_nothing(history: History) -> None:
    add_commit(history, run_of(history, "job"))


def plant_many_writes(history: History) -> None:
    for number in range(9):
        add_commit(history, run_of(history, "job"), checks=100 + number)


def plant_a_late_start(history: History) -> None:
    change_final(history, "chat", started_at=EPOCH + timedelta(seconds=30))


def plant_an_attempt_without_end(history: History) -> None:
    run = run_of(history, "chat")
    change_final(history, "chat", attempts=(replace(run.attempts[-1], outcome=None),))


def plant_an_overdue_run(history: History) -> None:
    history.overdue.append(run_of(history, "job").id)


def plant_another_cache_entry(history: History) -> None:
    history.cache[f"llm_job:{run_of(history, 'job').id}"] = "{}"


def plant_a_job_found_late(history: History) -> None:
    run = run_of(history, "job")
    index = index_of_end(history, run)
    history.commits[index] = replace(history.commits[index], at=2000.0)


def plant_many_paid_calls(history: History) -> None:
    call = next(call for call in history.paid if call.run_id == run_of(history, "chat").id)
    history.paid += [call] * 3


def plant_a_paid_call_too_many(history: History) -> None:
    history.paid.append(next(call for call in history.paid if call.run_id == run_of(history, "chat").id))


def plant_a_call_without_claim(history: History) -> None:
    history.llm_calls.append((0.0, run_of(history, "chat").id))


def plant_many_checks(history: History) -> None:
    history.llm_checks += [(history.llm_checks[-1])] * 50


def plant_a_job_that_goes_on(history: History) -> None:
    history.cancels.clear()


def plant_an_open_run_too_many(history: History) -> None:
    history.commits[0] = replace(history.commits[0], open_runs=5)


def plant_a_kept_permit(history: History) -> None:
    history.permits_left["acme"] = [run_of(history, "job").id]


def plant_a_refusal_with_free_places(history: History) -> None:
    refusal = Refusal(at=50, client="job", code="too_many_open_runs", is_in_doubt=False, asked_at=49, tenant_id="acme")
    history.refusals.append(refusal)


def plant_a_reservation_above_the_budget(history: History) -> None:
    created = next(one for one in history.commits if one.before is None and one.limits and one.limits.budget)
    bill = replace(created.after.bill, reserved_usd=99.0)
    history.commits[history.commits.index(created)] = replace(created, after=replace(created.after, bill=bill))


def plant_a_kept_reservation(history: History) -> None:
    period, balance = next(iter(history.balances.items()))
    history.balances = {**history.balances, period: replace(balance, reserved=5)}


def plant_a_run_counted_twice(history: History) -> None:
    acme = history.usage["acme"]
    history.usage = {**history.usage, "acme": replace(acme, runs=acme.runs + 1)}


def plant_a_free_call(history: History) -> None:
    change_end(history, "gone", usage=Usage(cost_usd=0.0))


def plant_a_refusal_with_money_left(history: History) -> None:
    refusal = Refusal(at=50, client="job", code="budget_exhausted", is_in_doubt=False, asked_at=49, tenant_id="acme")
    history.refusals.append(refusal)


def plant_a_run_that_does_not_exist(history: History) -> None:
    history.accepted_ids["chat"].append((9.0, "none"))


def plant_a_run_without_request(history: History) -> None:
    history.accepted_ids["chat"].clear()


def plant_two_runs_for_a_key(history: History) -> None:
    run = replace(run_of(history, "job"), id="second", status=Status.PENDING)
    history.script_ids["second"] = history.script_ids[run_of(history, "job").id]
    history.commits.append(Commit(at=90.0, by="api/0#1", before=None, after=run))


def plant_a_run_of_another_body(history: History) -> None:
    history.script_ids[run_of(history, "job").id] = "chat/0"


def plant_a_state_that_goes_back(history: History) -> None:
    last = max((seen for seen in history.seen if seen.run.is_terminal), key=lambda seen: seen.at)
    pending = replace(last.run, status=Status.PENDING)
    history.seen.append(replace(last, at=last.at + 2, asked_at=last.at + 1, run=pending))


def plant_a_run_of_somebody_else(history: History) -> None:
    history.seen[0].user = "eve"


def plant_another_result(history: History) -> None:
    done = next(seen for seen in history.seen if seen.run.result is not None)
    assert done.run.result is not None
    done.run = replace(done.run, result=replace(done.run.result, text="another"))


def plant_a_repeated_event(history: History) -> None:
    history.streams["job"].insert(0, history.streams["job"][0])


def plant_a_whole_run_in_each_update(history: History) -> None:
    updates = history.streams["job"]
    updates[1] = replace(updates[1], data={**updates[1].data, "run": {}})


def plant_a_stream_without_end(history: History) -> None:
    history.streams["job"].pop()


def plant_a_run_missing_from_a_list(history: History) -> None:
    client, found, started_at, ended_at = history.lists[0]
    history.lists[0] = (client, found[1:], started_at, ended_at)


def plant_content_after_a_delete(history: History) -> None:
    change_final(history, "gone", input={"text": "still here"})


def plant_an_unexpected_error(history: History) -> None:
    history.unexpected_errors.append("KeyError")


def plant_a_throttling_answer(history: History) -> None:
    answer = EventAnswer(at=1.0, function="process_run", status=503, is_transient_error=True)
    history.answers.append(answer)


def plant_an_acknowledged_failure(history: History) -> None:
    answer = EventAnswer(at=1.0, function="process_run", status=204, is_transient_error=True)
    history.answers.append(answer)


def plant_a_message_given_up(history: History) -> None:
    history.dead_letters["1"] = ("process_run", "run_not_found", run_of(history, "job").id)


def plant_a_submit_that_needs_the_queue(history: History) -> None:
    refusal = Refusal(at=5, client="job", code="queue_unavailable", is_in_doubt=True, asked_at=4, tenant_id="acme")
    history.refusals.append(refusal)


def plant_an_answer_that_is_dropped(history: History) -> None:
    change_end(history, "chat", status=Status.FAILED)


def plant_a_delta_of_another_text(history: History) -> None:
    run_id = run_of(history, "chat").id
    index = next(
        i for i, one in enumerate(history.commits) if one.run_id == run_id and DELTA in one.after.events[-1].detail
    )
    run = history.commits[index].after
    event = replace(run.events[-1], detail={**run.events[-1].detail, DELTA: "?"})
    history.commits[index] = replace(history.commits[index], after=replace(run, events=(*run.events[:-1], event)))


def plant_a_submit_within_the_waiting_time(history: History) -> None:
    run_id = run_of(history, "gone").id
    history.llm_answers.append(LlmAnswer(at=1.0, run_id=run_id, said=LlmFault.RATE_LIMITED))
    history.script_ids[run_id] = "patient/0"


def plant_a_call_under_the_key_of_another_model(history: History) -> None:
    run_id = run_of(history, "turned").id
    index = next(i for i, call in enumerate(history.paid) if call.run_id == run_id)
    history.paid[index] = replace(history.paid[index], key=f"{run_id}-1")


def plant_a_duration_too_many(history: History) -> None:
    [key, *_] = [key for key, known in history.durations.items() if known.jobs > 0]
    history.durations = {**history.durations, key: history.durations[key].merged(Durations(weights=(100_000,)))}


def plant_a_fallback_for_no_reason(history: History) -> None:
    run_id = run_of(history, "turned").id
    history.llm_answers = [one for one in history.llm_answers if one.run_id != run_id]


PLANTS: dict[str, Plant] = {
    "nothing_fails_unexpectedly": plant_an_unexpected_error,
    "no_answer_slows_the_queue": plant_a_throttling_answer,
    "a_failed_event_is_delivered_again": plant_an_acknowledged_failure,
    "no_message_of_a_run_is_given_up": plant_a_message_given_up,
    "a_submit_needs_the_store_alone": plant_a_submit_that_needs_the_queue,
    "every_run_ends_in_time": plant_an_end_that_never_comes,
    "no_deadline_passes_early": plant_an_early_deadline,
    "only_its_own_faults_fail_a_run": plant_a_failure_without_cause,
    "an_answer_in_hand_is_saved": plant_an_answer_that_is_dropped,
    "a_finished_job_is_found": plant_a_job_found_late,
    "terminal_states_absorb": plant_a_second_end,
    "histories_only_grow": plant_a_lost_event,
    "fences_rise": plant_a_falling_fence,
    "a_first_answer_is_kept": plant_a_dropped_first_answer,
    "a_translation_is_repaired_once": plant_a_second_repair,
    "only_the_claimer_writes_its_outcome": plant_an_outcome_of_another_worker,
    "no_claim_within_a_lease": plant_a_claim_within_a_lease,
    "a_write_says_something_new": plant_a_write_of_nothing,
    "writes_stay_within_budget": plant_many_writes,
    "undisturbed_runs_start_at_once": plant_a_late_start,
    "attempts_have_an_end": plant_an_attempt_without_end,
    "nothing_is_overdue_in_the_end": plant_an_overdue_run,
    "the_cache_agrees_with_the_store": plant_another_cache_entry,
    "paid_calls_stay_below_the_maximum": plant_many_paid_calls,
    "a_further_attempt_has_a_reason": plant_a_paid_call_too_many,
    "paid_calls_are_recorded": plant_a_paid_call_too_many,
    "calls_follow_a_claim": plant_a_call_without_claim,
    "checks_stay_on_the_plan": plant_many_checks,
    "a_waiting_time_is_respected": plant_a_submit_within_the_waiting_time,
    "calls_go_where_their_key_belongs": plant_a_call_under_the_key_of_another_model,
    "a_fallback_has_a_reason_and_leaves_no_job": plant_a_fallback_for_no_reason,
    "an_ended_run_stops_its_provider_job": plant_a_job_that_goes_on,
    "limits_hold": plant_an_open_run_too_many,
    "permits_are_given_back": plant_a_kept_permit,
    "free_places_are_given_out": plant_a_refusal_with_free_places,
    "budgets_hold": plant_a_reservation_above_the_budget,
    "balances_agree_with_the_runs": plant_a_kept_reservation,
    "ended_runs_are_counted_once": plant_a_run_counted_twice,
    "paid_calls_cost_money": plant_a_free_call,
    "durations_are_those_of_jobs_that_were_found": plant_a_duration_too_many,
    "free_money_is_given_out": plant_a_refusal_with_money_left,
    "accepted_runs_exist": plant_a_run_that_does_not_exist,
    "no_run_without_a_request": plant_a_run_without_request,
    "one_run_for_one_key": plant_two_runs_for_a_key,
    "a_key_answers_with_its_own_run": plant_a_run_of_another_body,
    "states_come_in_order": plant_a_state_that_goes_back,
    "nobody_sees_what_is_not_theirs": plant_a_run_of_somebody_else,
    "results_belong_to_their_runs": plant_another_result,
    "streams_have_no_gap_and_no_repeat": plant_a_repeated_event,
    "deltas_are_the_beginning_of_the_answer": plant_a_delta_of_another_text,
    "streams_send_a_run_no_more_than_needed": plant_a_whole_run_in_each_update,
    "streams_reach_the_end": plant_a_stream_without_end,
    "lists_are_complete": plant_a_run_missing_from_a_list,
    "deleted_content_is_gone": plant_content_after_a_delete,
    **WEBHOOK_PLANTS,
}

OF_FALLBACKS = ("calls_go_where_their_key_belongs", "a_fallback_has_a_reason_and_leaves_no_job")


def test_every_invariant_is_shown_to_notice_something() -> None:
    assert {invariant.__name__ for invariant in INVARIANTS} == set(PLANTS)


def plan_for(invariant: str) -> Plan:
    if invariant in WEBHOOK_PLANTS:
        return PLAN_WITH_WEBHOOKS
    return PLAN_WITH_FALLBACK if invariant in OF_FALLBACKS else PLAN


@pytest.mark.parametrize("plan", [PLAN, PLAN_WITH_FALLBACK, PLAN_WITH_WEBHOOKS])
def test_a_history_without_a_violation_violates_nothing(plan: Plan) -> None:
    assert check(plan, run_plan(plan)) == []


@pytest.mark.parametrize("invariant", PLANTS)
def test_an_invariant_notices_what_was_planted(invariant: str) -> None:
    plan = plan_for(invariant)
    history = run_plan(plan)
    PLANTS[invariant](history)
    assert invariant in {violation.invariant for violation in check(plan, history)}


def test_the_plan_with_webhooks_has_its_events_delivered() -> None:
    assert all_are_delivered(run_plan(PLAN_WITH_WEBHOOKS))
