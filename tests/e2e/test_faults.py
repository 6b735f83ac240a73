"""Google's services fail in every way we have a name for: each accepted run still completes, once."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.cloud.firestore_v1.types import CommitRequest

from tests.e2e.faulty import FaultySystem
from tests.e2e.system import until, until_all_ended
from tests.grpc_proxy import COMMIT, Forward, Requests, black_hole_for, down, lose_answers, lose_tasks, repeat

ABSENCE_SECONDS = 15.0
"""`python -m tests.bench.absence` measures three minutes."""


@pytest.fixture
def system(faulty: FaultySystem) -> FaultySystem:
    return faulty


def submit(system: FaultySystem, count: int = 1) -> list[str]:
    with system.client("submit_run") as client:
        answers = [client.post("/llm_user_runs", json={"input_text": "hello"}) for _ in range(count)]
    assert [answer.status_code for answer in answers] == [200] * count, answers[0].text
    return [answer.json()["run_uuid"] for answer in answers]


def check_all_complete_once(system: FaultySystem, run_ids: list[str], *, seconds: float = 90) -> None:
    with system.client("read_runs") as client:
        ended = until_all_ended(client, run_ids, seconds=seconds)
    assert {run["status"] for run in ended} == {"completed"}
    jobs = system.jobs_per_run()
    assert {jobs[run_id] for run_id in run_ids} == {1}


def test_a_run_costs_four_writes_and_three_reads_and_one_for_each_re_check(system: FaultySystem) -> None:
    with system.client("submit_run") as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[slow 6]]"}).json()["run_uuid"]
    document = f"llm_runs/{run_id}"
    until(lambda: system.firestore.writes[document] == 4)
    with system.client("read_runs") as client:
        reads = system.firestore.reads[document]
        run = client.get(f"/llm_user_runs/{run_id}").json()
    assert run["status"] == "completed" and run["metrics"]["checks"] >= 2
    assert system.firestore.writes[document] == 4
    assert reads <= 3 + run["metrics"]["checks"]


def test_limits_cost_two_writes_more_and_one_delete(system: FaultySystem) -> None:
    counters = (system.firestore.writes, system.firestore.deletes)
    before = [permits(counter) for counter in counters]
    check_all_complete_once(system, submit(system, 5))
    assert [permits(counter) - was for counter, was in zip(counters, before, strict=True)] == [10, 5]


def permits(counter: Counter[str]) -> int:
    return sum(count for name, count in counter.items() if name.startswith("permits/"))


def test_with_every_third_task_lost_all_complete(system: FaultySystem) -> None:
    system.tasks.hook = lose_tasks(every=3)
    check_all_complete_once(system, submit(system, 10), seconds=240)


def test_a_lost_answer_to_the_accepting_commit_makes_one_run(system: FaultySystem) -> None:
    system.firestore.hook = lose_answers(COMMIT, times=1)
    run_ids = submit(system)
    system.firestore.hook = None
    check_all_complete_once(system, run_ids)


def test_lost_answers_to_any_commit_do_no_harm(system: FaultySystem) -> None:
    system.firestore.hook = lose_answers(COMMIT, times=12)
    run_ids = submit(system, 5)
    check_all_complete_once(system, run_ids)


def test_a_hanging_firestore_gives_503_within_15_seconds_and_runs_complete_afterwards(system: FaultySystem) -> None:
    before = submit(system, 3)
    system.firestore.hook = black_hole_for(20)
    with system.client("submit_run") as client:
        began = time.monotonic()
        answer = client.post("/llm_user_runs", json={"input_text": "hello"})
        took = time.monotonic() - began
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable") and "retry-after" in answer.headers
    assert took < 15
    until(lambda: _is_accepted(system))
    check_all_complete_once(system, before)


def _is_accepted(system: FaultySystem) -> bool:
    with system.client("submit_run") as client:
        return client.post("/llm_user_runs", json={"input_text": "hello"}).status_code == 200


def test_with_pubsub_down_fifty_runs_are_accepted_and_complete(system: FaultySystem) -> None:
    system.pubsub.hook = down
    with ThreadPoolExecutor(10) as pool:
        run_ids = [run_id for batch in pool.map(lambda _: submit(system, 5), range(10)) for run_id in batch]
    assert len(set(run_ids)) == 50
    system.pubsub.hook = None
    check_all_complete_once(system, run_ids, seconds=150)


def test_every_message_three_times_makes_one_job(system: FaultySystem) -> None:
    system.pubsub.hook = repeat("Publish", 3)
    check_all_complete_once(system, submit(system, 10))


def test_a_pubsub_that_comes_back_empty_loses_no_run(system: FaultySystem) -> None:
    run_ids = submit(system, 5)
    system.restart_pubsub_empty()
    run_ids += submit(system, 5)
    check_all_complete_once(system, run_ids, seconds=150)
    system.set_up()


@pytest.mark.parametrize(
    "moment",
    ["after the claim", "after the LLM has accepted", "before the task is made", "after the task is made"],
)
def test_a_run_completes_with_one_job_although_its_worker_is_killed(system: FaultySystem, moment: str) -> None:
    killed = threading.Event()

    def kill() -> None:
        if not killed.is_set():
            killed.set()
            os.killpg(system.functions["process_run"].process.pid, signal.SIGKILL)

    def at_a_commit(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        states = [state_of(request) for request in requests] if method == COMMIT else []
        if moment == "after the LLM has accepted" and {("processing", True), ("", True)} & set(states):
            kill()
        answers = list(forward()) if method == COMMIT else forward()
        if moment == "after the claim" and ("processing", False) in states:
            kill()
        return answers

    def at_a_task(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        answers = list(forward()) if moment == "after the task is made" else forward()
        if method == "CreateTask":
            kill()
        return answers

    if moment.endswith("the task is made"):
        system.tasks.hook = at_a_task
    else:
        system.firestore.hook = at_a_commit
    run_ids = submit(system)
    assert killed.wait(60)
    system.restart("process_run")
    check_all_complete_once(system, run_ids)


def state_of(commit: bytes) -> tuple[str, bool]:
    """(status, whether the provider job is known) of the run, as far as they are written: a save writes changes."""
    fields = CommitRequest.deserialize(commit).writes[0].update.fields
    written = {name: fields[name].string_value for name in ("status", "provider_job_id") if name in fields}
    return written.get("status", ""), bool(written.get("provider_job_id"))


@pytest.mark.ends_group
def test_runs_that_were_submitted_while_their_worker_was_gone_complete_soon_after_its_return(
    system: FaultySystem,
) -> None:
    """Ends the system, which would go on sweeping, and delivering the messages that Pub/Sub's emulator still has."""
    system.functions["process_run"].kill()
    with ThreadPoolExecutor(10) as pool:
        run_ids = [run_id for batch in pool.map(lambda _: submit(system, 5), range(10)) for run_id in batch]
        time.sleep(ABSENCE_SECONDS)
    system.start("process_run")
    check_all_complete_once(system, run_ids, seconds=90)
    system.stop()
