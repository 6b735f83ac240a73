"""Tests how the history of a run keeps the beginning of an answer that is being written."""

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.delta import MAX_DELTAS, MAX_TEXT_BYTES, next_gap, wrote
from shared.domain.directory import LlmApi
from shared.domain.erasure import erased
from shared.domain.event import MAX_EVENTS
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from tests.contract.runs import NOW, a_run

LEASE = timedelta(minutes=5)


def a_claimed_run() -> Run:
    return a_run(api=LlmApi.OPENAI_CHAT).claimed(NOW, lease=LEASE)


def written(*texts: str) -> Run:
    """Returns a claimed run to which the texts were written, each the answer so far."""
    run = a_claimed_run()
    for text in texts:
        run = wrote(run, NOW, text=text)
    return run


def deltas(run: Run) -> list[dict[str, Any]]:
    return [dict(event.detail) for event in run.events if "delta" in event.detail]


def joined(run: Run) -> str:
    return "".join(detail["delta"] for detail in deltas(run))


def test_each_delta_has_what_is_new_in_the_text_so_far() -> None:
    run = written("Once ", "Once upon", "Once upon")
    assert deltas(run) == [
        {"delta": "Once ", "offset": 0, "attempt": 1},
        {"delta": "upon", "offset": 5, "attempt": 1},
    ]


def test_a_new_attempt_begins_its_text_anew_and_sequences_go_on() -> None:
    run = written("Once ", "Once upon")
    again = run.with_fault(NOW, reason="llm_timeout", delay=LEASE, may_be_billed=True).claimed(NOW, lease=LEASE)
    assert joined(again) == "Once upon", "the text of the last attempt can be read until there is a new one"
    again = wrote(again, NOW, text="It was")
    assert deltas(again) == [{"delta": "It was", "offset": 0, "attempt": 2}]
    sequences = [event.sequence for event in again.events]
    assert sequences == [1, 2, 5, 6]


def test_a_result_replaces_the_deltas_and_a_stream_resumes_behind_them() -> None:
    run = written("Once ").completed(NOW, result=Result(text="Once"), usage=Usage(), checks=0)
    assert [(event.sequence, event.type) for event in run.events] == [
        (1, "run.queued"),
        (2, "run.started"),
        (4, "run.completed"),
    ]


def test_a_run_that_failed_or_was_cancelled_keeps_its_text_until_it_is_deleted() -> None:
    cancelled = written("Once ").cancelled(NOW)
    assert joined(cancelled) == "Once "
    assert joined(erased(cancelled, NOW)) == ""


@pytest.mark.parametrize("letter", ["x", "ü", "訳", "🙂"])
def test_a_long_text_is_kept_up_to_a_limit_of_bytes(letter: str) -> None:
    run, text = a_claimed_run(), ""
    for _ in range(20):
        text += letter * 5000
        run = wrote(run, NOW, text=text)
    assert text.startswith(joined(run))
    assert MAX_TEXT_BYTES - 4 < len(joined(run).encode()) <= MAX_TEXT_BYTES


def test_an_attempt_has_a_limited_number_of_deltas_and_none_makes_room_for_other_events() -> None:
    run = a_claimed_run()
    for number in range(1, 2 * MAX_EVENTS):
        run = wrote(run, NOW, text="x" * number).progressed(NOW, progress=number / 1000)
    assert len(deltas(run)) == MAX_DELTAS < MAX_EVENTS == len(run.events)
    assert joined(run) == "x" * MAX_DELTAS


def test_gaps_grow_so_that_the_deltas_suffice_for_a_long_call() -> None:
    elapsed, saves = timedelta(0), 0
    while elapsed < timedelta(minutes=15):
        gap = next_gap(elapsed)
        assert gap >= timedelta(seconds=1)
        elapsed, saves = elapsed + gap, saves + 1
    assert saves <= MAX_DELTAS


def test_an_error_of_a_call_that_wrote_text_tells_whether_it_may_be_billed() -> None:
    """Text that is saved amid an attempt makes the attempt none that is resumed."""
    run = wrote(a_claimed_run(), NOW + timedelta(seconds=5), text="Once ")
    assert not run.has_resumed_attempt
