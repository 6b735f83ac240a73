"""Answers of synchronous protocols are read along while the LLM writes them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.system import System, until, updates

STREAMED = ["demo-chat-model", "demo-messages-model"]
CALL_SECONDS = 5


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose calls may take a few seconds only."""
    data_dir: Path = tmp_path_factory.mktemp("limited") / "data"
    system = System(data_dir, LLM_SIM_SECONDS="0.5", LLM_CALL_SECONDS=str(CALL_SECONDS), MAX_ATTEMPTS="2")
    yield system
    assert system.stop() == 0


def submit(system: System, model_id: str, text: str) -> str:
    body = {"job_type": "general_llm_request", "model_id": model_id, "input_data": {"full_input": text}}
    with system.client() as client:
        return str(client.post("/api/llm/jobs/submit/", json=body).json()["job_id"])


def follow(system: System, job_id: str, after: int = 0) -> list[Any]:
    """Returns the data of all updates until the run has ended."""
    path = f"/api/llm/jobs/{job_id}/stream/?starting_after={after}"
    with system.client() as client, client.stream("GET", path) as answer:
        return [update["data"] for update in updates(answer)]


def status(system: System, job_id: str) -> Any:
    with system.client() as client:
        return client.get(f"/api/llm/jobs/{job_id}/status/").json()


def text_of(told: list[Any]) -> str:
    """Returns the text of the deltas; one with offset 0 begins anew."""
    text = ""
    for update in told:
        if "delta" in update:
            assert update["type"] == "run.progress" and update["status"] == "processing"
            text = text[: update["detail"]["offset"]] + update["delta"]
    return text


@pytest.mark.parametrize("model_id", STREAMED)
def test_a_stream_has_the_beginning_of_the_answer_before_its_end(system: System, model_id: str) -> None:
    job_id = submit(system, model_id, "Tell me a long story of the sea [[slow 4]]")
    told = follow(system, job_id)
    result = told[-1]["run"]["result_data"]["result"]
    assert len([update for update in told if "delta" in update]) >= 2
    assert text_of(told) and result.startswith(text_of(told))
    assert [update["sequence"] for update in told] == sorted({update["sequence"] for update in told})
    assert 0 < status(system, job_id)["metrics"]["first_token_seconds"] < 4


def test_who_comes_late_reads_the_same_text_and_afterwards_the_result_alone(local: System) -> None:
    job_id = submit(local, STREAMED[0], "Tell me a long story of the sea [[slow 4]]")
    time.sleep(2.5)
    late = follow(local, job_id)
    result = late[-1]["run"]["result_data"]["result"]
    assert text_of(late) and result.startswith(text_of(late))
    seen = [update["sequence"] for update in late if "delta" in update]
    assert [update["type"] for update in follow(local, job_id)] == ["run.queued", "run.started", "run.completed"]
    resumed = follow(local, job_id, after=seen[0])
    assert [update["type"] for update in resumed] == ["run.completed"]


@pytest.mark.parametrize("model_id", STREAMED)
def test_an_answer_that_takes_longer_than_a_call_may_is_cut_off_and_bought_once(limited: System, model_id: str) -> None:
    job_id = submit(limited, model_id, "Tell me a long story of the sea [[slow 60]]")
    told = follow(limited, job_id)
    failed = status(limited, job_id)
    assert told[-1]["type"] == "run.failed" and told[-1]["detail"]["code"] == "llm_cut_off"
    text = text_of(told)
    assert text and f"after {len(text)} characters" in failed["error_message"]
    assert [(attempt["outcome"], attempt["may_be_billed"]) for attempt in failed["attempts"]] == [("timeout", True)]
    assert text_of(follow(limited, job_id)) == text, "it can still be read"


@pytest.mark.parametrize(
    ("model_id", "marker", "code", "outcome"),
    [
        (STREAMED[0], "[[garbage]]", "llm_unreadable", "unavailable"),
        (STREAMED[1], "[[fail-midway]]", "llm_overloaded", "unavailable"),
        (STREAMED[0], "[[break]]", "llm_connection_lost", "connection_lost"),
    ],
)
def test_a_stream_that_goes_wrong_is_bought_again_as_often_as_allowed(
    limited: System, model_id: str, marker: str, code: str, outcome: str
) -> None:
    """With fewer failures in a row than open the circuit breaker."""
    job_id = submit(limited, model_id, f"Tell me a story {marker}")
    told = follow(limited, job_id)
    failed = status(limited, job_id)
    assert told[-1]["type"] == "run.failed" and told[-1]["detail"]["code"] == code
    attempts = [(attempt["outcome"], attempt["may_be_billed"]) for attempt in failed["attempts"]]
    assert attempts == [(outcome, True)] * 2
    assert text_of(told), "the text of the last attempt is still there"


def test_a_call_that_never_begins_to_write_times_out(limited: System) -> None:
    job_id = submit(limited, STREAMED[0], "Tell me nothing [[never]]")
    [reason] = until(lambda: [told["detail"]["reason"] for told in first_events(limited, job_id)], seconds=20)
    assert reason == "llm_timeout"


def first_events(system: System, job_id: str) -> list[Any]:
    """Returns the retries so far."""
    events = []
    with system.client() as client, client.stream("GET", f"/api/llm/jobs/{job_id}/stream/") as answer:
        for update in updates(answer):
            events.append(update["data"])
            if update["event"] == "run.retrying":
                break
    return [event for event in events if event["type"] == "run.retrying"]


def test_a_cancel_stops_the_call(local: System) -> None:
    """Its place is free again long before the LLM would have ended."""
    job_id = submit(local, STREAMED[0], "Tell me a long story of the sea [[slow 60]]")
    until(lambda: status(local, job_id)["status"] == "processing")
    with local.client() as client:
        assert client.post(f"/api/llm/jobs/{job_id}/cancel/").json()["cancelled"] is True
    until(lambda: "call stopped" in local.log(), seconds=15)
