"""The state machine, whatever is observed in whatever order."""

import json
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.storage.run_document import from_document, from_json, to_document, to_json
from shared.domain.bill import NO_BILL
from shared.domain.event import MAX_EVENTS
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.progress import (
    Check,
    CheckLater,
    Complete,
    Fail,
    Finished,
    JobCreated,
    Nothing,
    Observation,
    Retry,
    Running,
    Start,
    consequence,
    next_step,
)
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import LlmRefused, LlmUnavailable
from tests.contract.runs import NOW, a_run

LEASE = timedelta(seconds=15)
CODES = ["llm_unavailable", "llm_rate_limited", "llm_timeout", "llm_unreadable", "llm_job_unknown", "llm_job_failed"]
seconds = st.floats(0, 2000).map(lambda value: timedelta(seconds=value))
observations = st.one_of(
    st.builds(Running, progress=st.none() | st.floats(0, 1), eta=st.none() | seconds),
    st.just(Finished(result=Result(text="done"))),
    st.builds(LlmUnavailable, code=st.sampled_from(CODES), retry_after=st.none() | seconds),
    st.builds(LlmRefused, code=st.sampled_from(["llm_refused", "llm_failed"])),
)


def new_run() -> Run:
    return a_run(deadline_at=NOW + timedelta(hours=1))


def carried_out(run: Run, step: Any, now: Any) -> Run:
    match step:
        case CheckLater(changed=changed) if changed is not None:
            return changed
        case Retry(changed=changed):
            return changed
        case Complete(result=result, usage=usage):
            return run.completed(now, result=result, usage=usage, checks=1)
        case Fail(error=error):
            return run.failed(now, error=error)
    return run


@given(st.lists(st.tuples(seconds, observations, st.booleans()), max_size=40))
def test_a_run_stays_sound_after_any_row_of_observations(happenings: list[tuple[timedelta, Observation, bool]]) -> None:
    run, now = new_run(), NOW
    for waited, seen, is_cancelled in happenings:
        now += waited
        before = run
        if is_cancelled and not run.is_terminal and waited.total_seconds() > 1900:
            run = run.cancelled(now)
        step = next_step(run, now)
        if isinstance(step, Start):
            assert run.provider_job_id is None, "a provider job, once known, is only ever checked"
            run = run.claimed(now, lease=LEASE)
            assert run.fence == before.fence + 1
            observed: Observation = JobCreated(provider_job_id="j") if isinstance(seen, Running) else seen
            run = carried_out(run, consequence(run, observed, now), now)
        elif isinstance(step, Check):
            run = carried_out(run, consequence(run, seen, now), now)
        else:
            run = carried_out(run, step, now)
        check_soundness(before, run, now)


def check_soundness(before: Run, run: Run, now: Any) -> None:
    if before.is_terminal:
        assert run == before and isinstance(consequence(run, Finished(result=Result(text="late")), now), Nothing)
    assert (run.due_at is None) == run.is_terminal, "every open run has a time at which the sweeper looks"
    assert run.is_terminal or run.due_at is None or run.due_at <= max(run.deadline_at, now + LEASE)
    sequences = [event.sequence for event in run.events]
    assert sequences == sorted(set(sequences)) and len(sequences) <= MAX_EVENTS
    assert run.attempt >= before.attempt and run.fence >= before.fence
    assert (run.status is Status.COMPLETED) == (run.result is not None)
    assert (run.status is Status.FAILED) == (run.error is not None)
    assert from_document(to_document(run), revision=None) == run
    assert from_json(to_json(run), revision=None) == run


@given(observations, seconds)
def test_past_the_deadline_only_a_result_saves_a_run(seen: Observation, late: timedelta) -> None:
    run = new_run().claimed(NOW, lease=LEASE).with_provider_job(NOW, provider_job_id="j")
    step = consequence(run, seen, run.deadline_at + late)
    assert isinstance(step, Complete if isinstance(seen, Finished) else Fail)


def test_a_document_of_another_release_is_read_all_the_same() -> None:
    run = new_run().claimed(NOW, lease=LEASE).failed(NOW, error=Failure(code="a_later_code", message="m"))
    document = to_document(run)
    for name in ("question_id", "repeats", "trouble", "waiting_for", "input_parts"):
        del document[name]
    document["error"].pop("retriable")
    changed = {**document, "added_later": 1, "metrics": {**document["metrics"], "seconds": 3}}
    assert from_document(changed, revision=None) == run


def test_stored_json_lacks_what_is_at_its_default_and_documents_do_not() -> None:
    run = replace(new_run(), revision=7, clock_offset=timedelta(seconds=1))
    stored, document = json.loads(to_json(run)), to_document(run)
    left_out = {name: value for name, value in document.items() if name not in stored and value not in (None, 0, ())}
    assert left_out.pop("metrics") == msgspec.to_builtins(Usage()) and left_out.pop("bill") == msgspec.to_builtins(
        NO_BILL
    )
    assert left_out == {"service": "standard", "max_attempts": 3}  # which never change: stored runs rely on them
    assert set(stored) < set(document) and "revision" not in document
    assert from_json(to_json(run), revision=7) == from_document(document, revision=7) == run


def test_stored_json_takes_half_of_a_surrogate_pair() -> None:
    run = replace(new_run(), input={"text": "a\ud800"})
    assert from_json(to_json(run), revision=None) == run


def test_many_events_are_cut_in_the_middle() -> None:
    run = new_run().claimed(NOW, lease=LEASE).with_provider_job(NOW, provider_job_id="j")
    for number in range(300):
        run = run.progressed(NOW, progress=number / 300)
    assert len(run.events) == MAX_EVENTS
    assert run.events[0].type == "run.queued" and run.events[-1].sequence == 302
