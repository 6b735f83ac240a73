"""Prefer: wait, ETag and Retry-After: how a client that polls is spared most of its polls; and DELETE."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared import wiring
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from tests.entrypoints.conftest import Functions
from tests.entrypoints.test_client_functions import ADMIN, ADMIN_RUN, JOB, JOBS, TRAINER, submitted


async def complete(run_id: str) -> Run:
    store = wiring.sqlite().store
    run = await store.get(run_id)
    now = run.created_at
    return await store.save(run.completed(now, result=Result(text="done"), usage=Usage(), checks=1))


async def completed_after(seconds: float) -> None:
    """The one run there is."""
    await asyncio.sleep(seconds)
    [[run_id]] = await wiring.sqlite().database.read(lambda c: c.execute("SELECT id FROM runs").fetchall())
    await complete(run_id)


@pytest.mark.parametrize(("path", "body"), [(JOBS, JOB), (ADMIN, ADMIN_RUN), ("/llm_user_runs", {"input_text": "hi"})])
async def test_a_submit_that_waits_is_answered_with_the_result(functions: Functions, path: str, body: Any) -> None:
    ending = asyncio.create_task(completed_after(0.1))
    async with functions.client("submit_run") as client:
        answer = await client.post(path, json=body, headers={"Prefer": "wait=20"})
    await ending
    shown = answer.json()
    assert answer.headers["preference-applied"] == "wait=20" and answer.headers["content-type"] == "application/json"
    assert (shown["status"], shown["is_complete"]) == ("completed", True)
    assert "done" in (shown.get("result_data", {}).get("result"), (shown.get("result") or {}).get("text"))
    assert "urls" in shown


async def test_a_status_that_waits_comes_when_the_run_is_complete(functions: Functions) -> None:
    urls = (await submitted(functions))["urls"]
    ending = asyncio.create_task(completed_after(0.1))
    async with functions.client("read_runs") as client:
        answer = await client.get(urls["self"], headers={"Prefer": "respond-async, wait=500"})
    await ending
    assert answer.json()["status"] == "completed" and answer.headers["preference-applied"] == "wait=60"
    assert "retry-after" not in answer.headers


async def test_a_wait_that_ends_early_is_answered_with_the_run_as_it_is(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(JOBS, json=JOB, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    async with functions.client("read_runs") as client:
        answer = await client.get(answer.json()["urls"]["self"], headers={"Prefer": "wait=1"})
    assert answer.json()["status"] == "pending" and 1 <= int(answer.headers["retry-after"]) <= 120


@pytest.mark.parametrize("preference", ["wait", "wait=", "wait=-1", "wait=soon", "wait=1e3", "waiting=3", ""])
async def test_a_preference_that_cannot_be_read_is_ignored(functions: Functions, preference: str) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(JOBS, json=JOB, headers={"Prefer": preference})
    assert answer.status_code == 200 and "preference-applied" not in answer.headers


async def test_an_unchanged_answer_is_304_for_its_etag(functions: Functions) -> None:
    answered = await submitted(functions)
    async with functions.client("read_runs") as client:
        for url in (answered["urls"]["self"], "/api/llm/jobs/"):
            first = await client.get(url)
            etag = first.headers["etag"]
            for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
                again = await client.get(url, headers={"If-None-Match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
                assert again.headers["x-request-id"] and again.headers["cache-control"] == "private, no-store"
            assert (await client.get(url, headers={"If-None-Match": '"other"'})).json() == first.json()
        await complete(answered["job_id"])
        changed = await client.get(answered["urls"]["self"], headers={"If-None-Match": etag})
        assert changed.status_code == 200 and changed.headers["etag"] != etag


async def test_errors_and_submits_carry_no_etag(functions: Functions) -> None:
    async with functions.client("read_runs") as client:
        assert "etag" not in (await client.get("/api/llm/jobs/nothing/status/")).headers
    async with functions.client("submit_run") as client:
        assert "etag" not in (await client.post(JOBS, json=JOB, headers={"If-None-Match": "*"})).headers


@pytest.mark.parametrize("path", ["/llm_user_runs/{}", "/api/llm/jobs/{}/"])
async def test_deleting_leaves_a_tombstone(functions: Functions, path: str) -> None:
    job_id = (await submitted(functions, JOBS, {**JOB, "input_data": {"full_input": "canary"}}))["job_id"]
    async with functions.client("read_runs") as client:
        open_still = await client.delete(path.format(job_id))
        assert (open_still.status_code, open_still.json()["code"]) == (400, "run_open")
        await complete(job_id)
        deleted = await client.delete(path.format(job_id))
        assert deleted.status_code == 200 and deleted.json()["deleted_at"].endswith("Z")
        result = await client.get(f"/api/llm/jobs/{job_id}/result/")
        assert (result.status_code, result.json()["code"]) == (404, "run_deleted")
        status = (await client.get(f"/api/llm/jobs/{job_id}/status/")).json()
        assert (status["status"], status["deleted_at"]) == ("completed", deleted.json()["deleted_at"])
        assert "result_data" not in status and status["completed_at"]
        assert (await client.delete(path.format(job_id))).json() == deleted.json()
        run = (await client.get(f"/llm_user_runs/{job_id}")).json()
        assert run["input_text"] is None and run["result"] is None
    stored = await functions.rows("SELECT document FROM runs")
    assert "canary" not in str(stored) and "done" not in str(stored)


async def test_a_wait_that_is_over_says_when_to_come_again(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(JOBS, json=JOB, headers={"Prefer": "wait=0"})
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_stream_with_nothing_left_tells_browsers_to_stop_asking(functions: Functions) -> None:
    answered = await submitted(functions)
    run = await complete(answered["job_id"])
    async with functions.client("read_runs") as client:
        stream, last = answered["urls"]["stream"], str(run.events[-1].sequence)
        assert (await client.get(stream, headers={"Last-Event-ID": last})).status_code == 204
        both = await client.get(f"{stream}?starting_after=0", headers={"Last-Event-ID": "1"})
        assert both.text.count("\nid: ") == 1, "what the browser knows is newer than what its address says"
        assert (await client.get(f"{stream}?starting_after={last}")).status_code == 204


async def test_a_key_that_is_empty_or_there_twice_is_refused(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        for headers in ([("Idempotency-Key", "")], [("Idempotency-Key", '""')], [("Idempotency-Key", "a")] * 2):
            answer = await client.post(JOBS, json=JOB, headers=headers)
            assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")
    assert await functions.count("runs") == 0


@pytest.mark.parametrize("path", [JOBS, "/api/llm/trainer-analysis/"])
async def test_too_large_is_413_whichever_way_it_is_submitted(functions: Functions, path: str) -> None:
    large = "x" * 1_100_000
    body = {**TRAINER, "full_input": large} if "trainer" in path else {**JOB, "input_data": {"full_input": large}}
    async with functions.client("submit_run") as client:
        answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "input_too_large")


async def test_a_body_with_too_many_values_is_413(functions: Functions) -> None:
    body = {**JOB, "input_data": {"full_input": "x", "extra": [0] * 300_000}}
    async with functions.client("submit_run") as client:
        answer = await client.post(JOBS, json=body)
    assert (answer.status_code, answer.json()["error"]) == (413, "The body has too many values.")


async def test_a_body_that_says_it_is_too_large_is_refused_unread(functions: Functions) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {"Content-Length": "1000000000", "Content-Type": "application/json"}
    async with functions.client("submit_run") as client:
        answer = await client.post(JOBS, content=unread(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "input_too_large")
