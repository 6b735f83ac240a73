"""Tests the batch protocols of OpenAI and Anthropic against answers in the forms of their documentation."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.llm.anthropic_batch import AnthropicBatchProtocol
from shared.adapters.llm.http import LlmHttpPools
from shared.adapters.llm.openai_batch import OpenAiBatchProtocol
from shared.adapters.llm.protocol import LlmCall
from shared.domain.directory import LlmApi, Model
from shared.domain.frozen import replace
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.run import Run
from shared.errors import LlmRefused, LlmUnavailable
from tests.contract.llm_server import Reply, ScriptedServer, closes, responds, scripted_server
from tests.contract.runs import NOW, a_run

SECRET = "sk-canary"
CONTENT = {"system_message": "be brief", "full_input": "how?"}
LEASE = timedelta(seconds=60)
OPENAI_ANSWER = {
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "fine"}]}],
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
ANTHROPIC_ANSWER = {
    "content": [{"type": "text", "text": "fine"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 2},
}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def pools() -> Iterator[LlmHttpPools]:
    pools = LlmHttpPools(threads=4, name="test")
    yield pools
    pools.close()


@pytest.fixture
def openai(pools: LlmHttpPools) -> OpenAiBatchProtocol:
    return OpenAiBatchProtocol(pools, secrets=lambda name: SECRET)


@pytest.fixture
def anthropic(pools: LlmHttpPools) -> AnthropicBatchProtocol:
    return AnthropicBatchProtocol(pools, secrets=lambda name: SECRET)


def claimed_run(api: str) -> Run:
    return a_run(api=api, attempt=1).claimed(NOW, lease=LEASE)


def call(server: ScriptedServer, run: Run) -> LlmCall:
    model = Model(id="m", name="M", provider="p", api=run.api, upstream_model="up-1", secret="KEY", max_output_tokens=9)
    return LlmCall(run=run, base_url=f"{server.url}/v1", model=model)


def openai_call(server: ScriptedServer, **changes: Any) -> LlmCall:
    return call(server, replace(claimed_run(LlmApi.OPENAI_BATCH), **changes))


def anthropic_call(server: ScriptedServer, **changes: Any) -> LlmCall:
    return call(server, replace(claimed_run(LlmApi.ANTHROPIC_BATCH), **changes))


def ok(**body: Any) -> Reply:
    return responds(200, json.dumps(body).encode())


def parts(request: bytes) -> tuple[bytes, Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    return head, body


async def test_openai_gets_a_file_with_one_request_and_a_batch_of_it(
    server: ScriptedServer, openai: OpenAiBatchProtocol
) -> None:
    server.replies = [ok(id="file-1"), ok(id="batch_1", status="validating")]
    to = openai_call(server)
    assert await openai.start(to, CONTENT, seconds=9) == JobCreated(provider_job_id="batch_1")
    head, form = parts(server.requests[0])
    assert head.startswith(b"POST /v1/files HTTP/1.1") and b"multipart/form-data; boundary=" in head
    assert b'name="purpose"\r\n\r\nbatch\r\n' in form
    line = json.loads(form.partition(b'filename="run.jsonl"\r\n\r\n')[2].partition(b"\n")[0])
    assert line["custom_id"] == to.run.idempotency_key and line["url"] == "/v1/responses"
    assert {"model": "up-1", "input": "how?", "instructions": "be brief", "max_output_tokens": 9}.items() <= line[
        "body"
    ].items()
    assert "background" not in line["body"], "the batch API refuses requests in the background"
    head, body = parts(server.requests[1])
    assert head.startswith(b"POST /v1/batches HTTP/1.1") and f"Authorization: Bearer {SECRET}".encode() in head
    assert json.loads(body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "metadata": {"run_id": to.run.id, "key": to.run.idempotency_key},
    }


async def test_the_openai_batch_of_a_lost_worker_is_found_on_a_later_page_and_not_made_again(
    server: ScriptedServer, openai: OpenAiBatchProtocol
) -> None:
    run = claimed_run(LlmApi.OPENAI_BATCH)
    resumed = run.claimed(NOW + LEASE, lease=LEASE)
    others = [{"id": "batch_8", "metadata": None}, {"id": "batch/9", "created_at": NOW.timestamp(), "metadata": {}}]
    mine = {"id": "batch_1", "metadata": {"key": run.idempotency_key}}
    server.replies = [ok(data=others, has_more=True), ok(data=[mine], has_more=False)]
    assert await openai.start(call(server, resumed), CONTENT, seconds=9) == JobCreated(provider_job_id="batch_1")
    assert len(resumed.attempts) == 1, "the attempt of the lost worker goes on"
    assert server.requests[1].startswith(b"GET /v1/batches?limit=100&after=batch%2F9 HTTP/1.1")


async def test_the_search_for_a_batch_ends_with_those_that_are_older_than_the_attempt(
    server: ScriptedServer, openai: OpenAiBatchProtocol
) -> None:
    resumed = claimed_run(LlmApi.OPENAI_BATCH).claimed(NOW + LEASE, lease=LEASE)
    older = {"id": "batch_0", "created_at": (NOW - timedelta(minutes=2)).timestamp(), "metadata": {}}
    server.replies = [ok(data=[older], has_more=True), ok(id="file-1"), ok(id="batch_2")]
    assert await openai.start(call(server, resumed), CONTENT, seconds=9) == JobCreated(provider_job_id="batch_2")


async def test_a_list_that_cannot_be_read_creates_no_second_batch(
    server: ScriptedServer, openai: OpenAiBatchProtocol
) -> None:
    resumed = claimed_run(LlmApi.OPENAI_BATCH).claimed(NOW + LEASE, lease=LEASE)
    server.replies = [closes]
    with pytest.raises(LlmUnavailable):
        await openai.start(call(server, resumed), CONTENT, seconds=9)
    assert len(server.requests) == 1


async def test_a_finished_openai_batch_is_read_from_its_file(
    server: ScriptedServer, openai: OpenAiBatchProtocol
) -> None:
    line = {"custom_id": "c", "response": {"status_code": 200, "body": OPENAI_ANSWER}, "error": None}
    server.replies = [
        ok(id="batch_1", status="in_progress"),
        ok(id="batch_1", status="completed", output_file_id="file/2"),
        responds(200, json.dumps(line).encode() + b"\n"),
    ]
    to = openai_call(server, provider_job_id="batch_1")
    assert await openai.check(to) == Running()
    finished = await openai.check(to)
    assert isinstance(finished, Finished) and finished.result.text == "fine"
    assert finished.usage.input_tokens == 7
    assert server.requests[2].startswith(b"GET /v1/files/file%2F2/content HTTP/1.1"), "an id never becomes a path"


def failed_line(status: int, body: Any) -> list[Reply]:
    line = {"custom_id": "c", "response": {"status_code": status, "body": body}, "error": None}
    return [ok(status="completed", error_file_id="file-3"), ok(**line)]


@pytest.mark.parametrize(
    ("replies", "error", "code"),
    [
        ([ok(status="failed", errors={"data": [{"code": "invalid", "message": "canary"}]})], LlmRefused, "llm_failed"),
        ([ok(status="failed", errors={"data": [{"code": "token_limit_exceeded"}]})], LlmUnavailable, "llm_job_failed"),
        ([ok(status="failed")], LlmRefused, "llm_failed"),
        ([ok(status="expired")], LlmRefused, "llm_failed"),
        ([ok(status="cancelled")], LlmRefused, "llm_job_cancelled"),
        ([ok(status="completed")], LlmUnavailable, "llm_unreadable"),
        ([ok(status="dreaming")], LlmUnavailable, "llm_unreadable"),
        (failed_line(400, {"error": {"message": "canary"}}), LlmRefused, "llm_refused"),
        (failed_line(500, {}), LlmUnavailable, "llm_job_failed"),
        (failed_line(200, {"status": "incomplete"}), LlmRefused, "llm_failed"),
        ([ok(status="expired", error_file_id="f"), ok(error={"code": "batch_expired"})], LlmRefused, "llm_failed"),
        ([ok(status="completed", output_file_id="f"), ok(surprise=1)], LlmUnavailable, "llm_unreadable"),
    ],
)
async def test_each_openai_batch_without_an_answer_has_a_code(
    server: ScriptedServer,
    openai: OpenAiBatchProtocol,
    replies: list[Reply],
    error: type[Exception],
    code: str,
) -> None:
    server.replies = list(replies)
    with pytest.raises(error) as raised:
        await openai.check(openai_call(server, provider_job_id="batch_1"))
    assert raised.value.code == code and "canary" not in str(raised.value)  # type: ignore[attr-defined]


async def test_anthropic_gets_a_batch_of_one_request(server: ScriptedServer, anthropic: AnthropicBatchProtocol) -> None:
    server.replies = [ok(id="msgbatch_1", processing_status="in_progress")]
    to = anthropic_call(server)
    assert await anthropic.start(to, CONTENT, seconds=9) == JobCreated(provider_job_id="msgbatch_1")
    head, body = parts(server.requests[0])
    assert head.startswith(b"POST /v1/messages/batches HTTP/1.1") and f"x-api-key: {SECRET}".encode() in head.lower()
    [request] = json.loads(body)["requests"]
    assert request["custom_id"] == to.run.idempotency_key
    assert {"model": "up-1", "max_tokens": 9, "system": "be brief"}.items() <= request["params"].items()


async def test_a_finished_anthropic_batch_is_read_from_its_results(
    server: ScriptedServer, anthropic: AnthropicBatchProtocol
) -> None:
    line = {"custom_id": "c", "result": {"type": "succeeded", "message": ANTHROPIC_ANSWER}}
    server.replies = [
        ok(processing_status="in_progress"),
        ok(processing_status="ended", results_url="http://127.0.0.1:1/elsewhere"),
        responds(200, json.dumps(line).encode() + b"\n"),
    ]
    to = anthropic_call(server, provider_job_id="msgbatch_1")
    assert await anthropic.check(to) == Running()
    finished = await anthropic.check(to)
    assert isinstance(finished, Finished) and finished.result.text == "fine"
    assert server.requests[2].startswith(b"GET /v1/messages/batches/msgbatch_1/results"), "no key goes to another host"


@pytest.mark.parametrize(
    ("result", "error", "code"),
    [
        ({"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}, LlmRefused, "llm_failed"),
        ({"type": "errored", "error": {"error": {"type": "overloaded_error"}}}, LlmUnavailable, "llm_job_failed"),
        ({"type": "errored", "error": {"type": "api_error"}}, LlmUnavailable, "llm_job_failed"),
        ({"type": "expired"}, LlmRefused, "llm_failed"),
        ({"type": "canceled"}, LlmRefused, "llm_job_cancelled"),
        ({"type": "succeeded"}, LlmUnavailable, "llm_unreadable"),
        (None, LlmUnavailable, "llm_unreadable"),
    ],
)
async def test_each_anthropic_batch_without_an_answer_has_a_code(
    server: ScriptedServer,
    anthropic: AnthropicBatchProtocol,
    result: Any,
    error: type[Exception],
    code: str,
) -> None:
    server.replies = [ok(processing_status="ended"), ok(custom_id="c", result=result)]
    with pytest.raises(error) as raised:
        await anthropic.check(anthropic_call(server, provider_job_id="msgbatch_1"))
    assert raised.value.code == code  # type: ignore[attr-defined]


async def test_a_batch_is_cancelled_under_its_own_path(
    server: ScriptedServer, openai: OpenAiBatchProtocol, anthropic: AnthropicBatchProtocol
) -> None:
    server.replies = [ok(status="cancelling"), ok(processing_status="canceling")]
    await openai.cancel(openai_call(server, provider_job_id="batch_1"))
    await anthropic.cancel(anthropic_call(server, provider_job_id="msgbatch_1"))
    assert server.requests[0].startswith(b"POST /v1/batches/batch_1/cancel")
    assert server.requests[1].startswith(b"POST /v1/messages/batches/msgbatch_1/cancel")
