"""process_run, recheck_run, sweep_runs and bury_run: what Google's services post, and what they are told."""

import json
from base64 import b64encode
from typing import Any

import pytest

from shared import wiring
from tests.entrypoints.conftest import Functions, push
from tests.entrypoints.test_client_functions import UNKNOWN, submitted

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def status_of(functions: Functions, job_id: str) -> Any:
    async with functions.client("read_runs") as client:
        return (await client.get(f"/api/llm/jobs/{job_id}/status/")).json()


@pytest.mark.parametrize("shape", ["json", "bare", "attribute"])
async def test_a_push_starts_its_run(functions: Functions, shape: str) -> None:
    job_id = (await submitted(functions))["job_id"]
    bodies = {
        "json": push(json.dumps({"run_id": job_id})),
        "bare": push(f"{job_id}\n"),
        "attribute": push("", run_id=job_id),
    }
    async with functions.client("process_run", user=None) as client:
        assert (await client.post("/", json=bodies[shape])).status_code == 204
    assert (await status_of(functions, job_id))["status"] == "processing"
    assert await functions.count("tasks") == 1, "nobody listens at the LLM's address: it is tried again later"


async def test_a_cloud_event_starts_its_run_too(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    headers = {"ce-id": "1", "ce-type": "google.cloud.pubsub.topic.v1.messagePublished", "ce-specversion": "1.0"}
    async with functions.client("process_run", user=None) as client:
        answer = await client.post(
            "/", json=push(json.dumps({"run_id": job_id})), headers={**headers, "ce-source": "//p"}
        )
    assert answer.status_code == 204
    assert (await status_of(functions, job_id))["status"] == "processing"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"message": 5}',
        b'{"message": {"data": "%%%"}}',
        b'{"message": {"data": {}}}',
        json.dumps(push("not a run")).encode(),
        json.dumps(push('{"run_id": 7}')).encode(),
        json.dumps(push(UNKNOWN)).encode(),
        json.dumps({"message": {"data": b64encode(b"\xff\xfe").decode()}}).encode(),
        b"[" * 50_000,
    ],
)
async def test_a_poison_message_is_kept_and_acknowledged(functions: Functions, content: bytes) -> None:
    async with functions.client("process_run", user=None) as client:
        for _ in range(2):
            assert (await client.post("/", content=content)).status_code == 204
    assert await functions.count("dead_letters") == 1


@pytest.mark.parametrize("content", [b"", b"{}", b'{"run_id": "x"}', b'{"run_id": null, "checks": {}}'])
async def test_a_poison_task_is_kept_and_acknowledged(functions: Functions, content: bytes) -> None:
    async with functions.client("recheck_run", user=None) as client:
        assert (await client.post("/", content=content, headers={"X-CloudTasks-TaskName": "t"})).status_code == 204
    assert await functions.rows("SELECT message_id, source FROM dead_letters") == [("t", "recheck_run")]


async def test_a_re_check_moves_its_run_on(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    async with functions.client("recheck_run", user=None) as client:
        body = {"run_id": job_id, "attempt": 1, "sequence": "1", "checks": 0}
        assert (await client.post("/", json=body)).status_code == 204
    assert (await status_of(functions, job_id))["status"] == "processing"


async def test_messages_tasks_and_runs_of_a_later_release_are_handled_as_far_as_they_are_known(
    functions: Functions,
) -> None:
    """While a release is rolled out, an old worker gets what a new one has written."""
    job_id = (await submitted(functions))["job_id"]
    statement = """UPDATE runs SET document = json_set(document, '$.of_a_later_release', json('{"a": 1}'))"""
    await wiring.sqlite().database.write(lambda connection: connection.execute(statement))
    later = {"run_id": job_id, "schema": 2, "priority": "high"}
    async with functions.client("process_run", user=None) as client:
        assert (await client.post("/", json=push(json.dumps(later), lane="bulk"))).status_code == 204
    assert (await status_of(functions, job_id))["status"] == "processing"
    async with functions.client("recheck_run", user=None) as client:
        assert (await client.post("/", json={**later, "attempt": 1, "sequence": "1", "checks": 0})).status_code == 204
    async with functions.client("recheck_run", user=None) as client:
        assert (await client.post("/", json={"run_id": job_id})).status_code == 204, "and of an earlier one"
    assert await functions.count("dead_letters") == 0


async def test_the_sweeper_answers(functions: Functions) -> None:
    async with functions.client("sweep_runs", user=None) as client:
        assert (await client.post("/", json={})).status_code == 204
    assert functions.log.getvalue() == ""


async def test_a_dead_letter_is_kept_and_leaves_its_run_alone(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    async with functions.client("bury_run", user=None) as client:
        assert (await client.post("/", json=push(json.dumps({"run_id": job_id})))).status_code == 204
        assert (await client.post("/", json=push("rubbish"))).status_code == 204
    assert (await status_of(functions, job_id))["status"] == "pending"
    assert await functions.rows("SELECT message_id FROM dead_letters") == [("4711",)]


@pytest.mark.parametrize("name", ["process_run", "recheck_run", "sweep_runs", "bury_run"])
async def test_without_a_store_the_event_comes_again(functions: Functions, name: str) -> None:
    wiring.services()
    wiring.sqlite().close()
    body = {**push(UNKNOWN), "run_id": UNKNOWN}
    async with functions.client(name, user=None) as client:
        assert (await client.post("/", json=body)).status_code == 500


async def test_the_trace_of_the_message_goes_before_that_of_its_delivery(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    body = push(job_id, traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    async with functions.client("bury_run", user=None) as client:
        await client.post("/", json=body, headers={"traceparent": f"00-{'1' * 32}-00f067aa0ba902b7-01"})
    assert json.loads(functions.log.getvalue().splitlines()[-1])["logging.googleapis.com/trace"] == TRACE_ID


async def test_log_lines_carry_severity_trace_and_run(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    async with functions.client("bury_run", user=None) as client:
        await client.post("/", json=push(job_id), headers={"X-Cloud-Trace-Context": f"{TRACE_ID}/7;o=1"})
    line = json.loads(functions.log.getvalue().splitlines()[-1])
    assert line["severity"] == "ERROR" and line["run_id"] == job_id
    assert line["logging.googleapis.com/trace"] == TRACE_ID and line["logging.googleapis.com/trace_sampled"] is True
    assert len(line["logging.googleapis.com/spanId"]) == 16
