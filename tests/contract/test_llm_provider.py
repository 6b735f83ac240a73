"""Tests both LLM protocols against a server that fails in each way that has an error code."""

import asyncio
import io
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from shared import log
from shared.adapters.llm.breaker import MAX_FAILURES
from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.http import LlmHttp, LlmHttpPools
from shared.adapters.llm.jobs import JobsProtocol
from shared.adapters.llm.messages import MessagesProtocol
from shared.adapters.llm.provider import DirectoryLlmProvider
from shared.adapters.llm.responses import ResponsesProtocol
from shared.domain.directory import LlmApi, Model, ModelRef, Organization, ReferenceFile, StyleGuide
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.run import Run
from shared.domain.status import Kind
from shared.errors import LlmRefused, LlmUnavailable, ServiceError
from tests.contract.llm_server import (
    Reply,
    ScriptedServer,
    closes,
    closes_during_answer,
    responds,
    scripted_server,
    sends_headers_slowly,
    sends_slowly,
    stops_during_answer,
    waits,
)
from tests.contract.runs import a_run

SECRET = "sk-canary"
MINUTE = timedelta(minutes=1)


class Records:
    """A directory of one organization and three models."""

    def __init__(self, url: str) -> None:
        common: dict[str, Any] = {"name": "M", "provider": "p", "upstream_model": "up-1"}
        self.models = {
            "jobs": Model(
                id="jobs", api=LlmApi.LLM_JOBS, deployment="europe", prices={"input": 1.0, "output": 2.0}, **common
            ),
            "chat": Model(id="chat", api=LlmApi.OPENAI_CHAT, base_url=f"{url}/v1/", secret="LLM_KEY", **common),
            "responses": Model(
                id="responses",
                api=LlmApi.OPENAI_RESPONSES,
                base_url=f"{url}/v1",
                secret="LLM_KEY",
                prices={"input": 1.0, "output": 2.0},
                max_output_tokens=100,
                **common,
            ),
            "messages": Model(
                id="messages",
                api=LlmApi.ANTHROPIC_MESSAGES,
                base_url=f"{url}/v1",
                secret="LLM_KEY",
                prices={"input": 1.0, "output": 2.0},
                **common,
            ),
            "unset": Model(id="unset", api=LlmApi.OPENAI_CHAT, base_url=url, secret="NOT_SET", **common),
        }

    async def profile(self, user_id: str) -> None:
        return None

    async def organization(self, organization_id: str) -> Organization:
        return Organization(id="acme", name="Acme", deployment="europe")

    async def model(self, model_id: str) -> Model | None:
        return self.models.get(model_id)

    async def style_guide(self, style_guide_id: str) -> StyleGuide | None:
        owner = "globex" if style_guide_id == "foreign" else "acme"
        return StyleGuide(id=style_guide_id, organization_id=owner, text=f"style {style_guide_id}")

    async def reference_file(self, file_id: str) -> ReferenceFile | None:
        owner = "globex" if file_id == "foreign" else "acme"
        return ReferenceFile(id=file_id, organization_id=owner, text=f"reference {file_id}")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def provider(server: ScriptedServer) -> Iterator[DirectoryLlmProvider]:
    pools = LlmHttpPools(threads=4, name="test")

    def secrets(name: str) -> str | None:
        return SECRET if name == "LLM_KEY" else None

    yield DirectoryLlmProvider(
        Records(server.url),
        deployments={"europe": server.url},
        asynchronous={
            LlmApi.LLM_JOBS: JobsProtocol(pools),
            LlmApi.OPENAI_RESPONSES: ResponsesProtocol(pools, secrets=secrets),
        },
        synchronous={
            LlmApi.OPENAI_CHAT: ChatProtocol(pools, seconds=0.5, secrets=secrets),
            LlmApi.ANTHROPIC_MESSAGES: MessagesProtocol(pools, seconds=0.5, secrets=secrets),
        },
    )
    pools.close()


def user_run(**changes: Any) -> Run:
    return a_run(kind=Kind.USER_RUN, deployment="europe", model=None, attempt=1, input={"text": "hello"}, **changes)


def model_run(model_id: str, **changes: Any) -> Run:
    return a_run(deployment="europe", model=ModelRef(id=model_id, name="M", provider="p"), attempt=1, **changes)


def ok(**body: Any) -> Reply:
    return responds(200, json.dumps(body).encode())


async def test_a_submit_sends_all_fields_of_the_jobs_protocol(server: ScriptedServer, provider: Any) -> None:
    server.replies = [responds(202, b'{"job_id": "j-1", "status": "queued"}')]
    run = user_run(
        prior_run_id="p",
        prior_provider_job_id="pj",
        source_lang="en",
        target_lang="de",
        style_guide="s",
        phrase_client_id="pc",
        reference_file_ids=("f",),
    )
    assert await provider.start(run, run.input, within=MINUTE) == JobCreated(provider_job_id="j-1")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /jobs HTTP/1.1") and f"Idempotency-Key: {run.id}-1".encode() in head
    assert json.loads(body) == {
        "run_uuid": run.id,
        "input_text": "hello",
        "prior_run_uuid": "p",
        "prior_job_id": "pj",
        "organization": {"id": "acme", "name": "Acme"},
        "phrase_client_id": "pc",
        "source_lang": "en",
        "target_lang": "de",
        "style_guide": "s",
        "reference_file_ids": ["f"],
    }


async def test_a_check_reads_progress_and_result(server: ScriptedServer, provider: Any) -> None:
    output = {"text": "hallo", "memory_flags": [["s", 0.9]], "term_pairs": {"a": "b"}}
    server.replies = [
        ok(status="running", progress=0.25, eta_seconds=3),
        ok(status="queued", progress="much", eta_seconds=-1),
        ok(status="finished", output=output, usage={"input_tokens": 1000, "output_tokens": 1000}),
    ]
    run = model_run("jobs", provider_job_id="j/1 ü")
    assert await provider.check(run) == Running(progress=0.25, eta=timedelta(seconds=3))
    assert await provider.check(run) == Running()
    finished = await provider.check(run)
    assert isinstance(finished, Finished) and finished.result.text == "hallo"
    assert finished.usage.cost_usd == 0.003
    assert server.requests[0].startswith(b"GET /jobs/j%2F1%20%C3%BC HTTP/1.1"), "an id never becomes a path"


async def test_a_chat_sends_both_messages_and_the_key(server: ScriptedServer, provider: Any) -> None:
    choice = {"message": {"content": "fine"}, "finish_reason": "stop"}
    server.replies = [ok(choices=[choice], usage={"prompt_tokens": 7, "completion_tokens": 2})]
    finished = await provider.start(
        model_run("chat", api=LlmApi.OPENAI_CHAT), {"system_message": "be brief", "full_input": "how?"}, within=MINUTE
    )
    assert finished.result.text == "fine" and finished.usage.input_tokens == 7
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions") and f"Authorization: Bearer {SECRET}".encode() in head
    assert json.loads(body) == {
        "model": "up-1",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_translation_by_chat_sends_the_texts_of_its_own_organization(
    server: ScriptedServer, provider: Any
) -> None:
    choice = {"message": {"content": "Hallo"}, "finish_reason": "stop"}
    server.replies = [ok(choices=[choice])] * 2
    for style_guide in ("house", "foreign"):
        run = model_run(
            "chat",
            api=LlmApi.OPENAI_CHAT,
            kind=Kind.USER_RUN,
            organization_id="acme",
            target_lang="de",
            style_guide=style_guide,
            reference_file_ids=("own", "foreign"),
        )
        await provider.start(run, {"text": "hello"}, within=MINUTE)
    sent = [json.loads(request.partition(b"\r\n\r\n")[2])["messages"][1]["content"] for request in server.requests]
    assert "style house" in sent[0] and "reference own" in sent[0] and "\nhello\n" in sent[0]
    assert "reference foreign" not in sent[0] and "style foreign" not in sent[1]


async def test_lone_surrogates_and_infinite_numbers_are_replaced(server: ScriptedServer, provider: Any) -> None:
    server.replies = [
        responds(200, b'{"status": "finished", "output": {"text": "a\\ud800b", "memory_flags": [["s", 1e999]]}}')
    ]
    finished = await provider.check(user_run(provider_job_id="j"))
    assert finished.result.text == "a?b" and finished.result.memory_flags[0]["match"] is None


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (responds(429, b"{}"), "llm_rate_limited"),
        (responds(500, b"oops"), "llm_unavailable"),
        (responds(503, b"{}"), "llm_overloaded"),
        (responds(408, b"{}"), "llm_timeout"),
        (responds(200, b"<html>"), "llm_unreadable"),
        (responds(200, b"[]"), "llm_unreadable"),
        (responds(200, b"[" * 100_000), "llm_unreadable"),
        (responds(200, b"{}"), "llm_unreadable"),
        (responds(200, b'{"job_id": 7}'), "llm_unreadable"),
        (responds(302, b"", "Location: http://127.0.0.1:1/"), "llm_unreadable"),
        (responds(200, b"x" * 9_000_000), "llm_unreadable"),
        (closes, "llm_connection_lost"),
        (closes_during_answer, "llm_connection_lost"),
    ],
)
async def test_each_transient_failure_has_a_code(
    server: ScriptedServer, provider: Any, reply: Reply, code: str
) -> None:
    server.replies = [reply]
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(user_run(), {"text": "hello"}, within=MINUTE)
    assert trouble.value.code == code
    assert len(server.requests) == 1, "the HTTP client does not retry by itself"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (waits(3), "llm_timeout"),
        (sends_headers_slowly(3), "llm_timeout"),
        (sends_slowly(3), "llm_answer_timeout"),
        (stops_during_answer(3), "llm_answer_timeout"),
    ],
)
async def test_a_call_to_a_hanging_or_slow_server_times_out(
    server: ScriptedServer, provider: Any, reply: Reply, code: str
) -> None:
    server.replies = [reply]
    began = time.monotonic()
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(model_run("chat", api=LlmApi.OPENAI_CHAT), {"full_input": "hello"}, within=MINUTE)
    assert trouble.value.code == code and trouble.value.may_be_billed
    assert time.monotonic() - began < 2.5


async def test_a_refused_connection_is_a_lost_connection(server: ScriptedServer, provider: Any) -> None:
    provider._deployments["europe"] = "http://127.0.0.1:1"
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(user_run(), {"text": "hello"}, within=MINUTE)
    assert trouble.value.code == "llm_connection_lost"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (responds(400, b'{"error": {"code": "bad", "message": "the text says canary"}}'), "llm_refused"),
        (responds(422, b"{}"), "llm_refused"),
        (responds(404, b"{}"), "llm_model_gone"),
        (responds(413, b"{}"), "llm_input_too_long"),
        (responds(401, b"{}"), "llm_credentials"),
        (responds(403, b"{}"), "llm_credentials"),
        (responds(402, b"{}"), "llm_quota_exhausted"),
        (responds(429, b'{"error": {"code": "insufficient_quota"}}'), "llm_quota_exhausted"),
    ],
)
async def test_each_refusal_has_a_code_and_no_text_of_the_llm(
    server: ScriptedServer, provider: Any, reply: Reply, code: str
) -> None:
    server.replies = [reply]
    with pytest.raises(LlmRefused) as refusal:
        await provider.start(user_run(), {"text": "hello"}, within=MINUTE)
    assert refusal.value.code == code and "canary" not in refusal.value.message


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"status": "failed", "error": {"code": "internal", "message": "canary"}}, LlmRefused, "llm_failed"),
        ({"status": "failed"}, LlmRefused, "llm_failed"),
        ({"status": "failed", "error": {"code": "refused"}}, LlmRefused, "llm_refused"),
        ({"status": "failed", "error": {"code": "overloaded"}}, LlmUnavailable, "llm_job_failed"),
        ({"status": "cancelled"}, LlmRefused, "llm_job_cancelled"),
        ({"status": "dreaming"}, LlmUnavailable, "llm_unreadable"),
        ({"status": "finished", "output": None}, LlmUnavailable, "llm_unreadable"),
        ({"status": "finished", "output": {"text": 5}}, LlmUnavailable, "llm_unreadable"),
    ],
)
async def test_each_job_status_without_a_result_has_a_code(
    server: ScriptedServer, provider: Any, body: Any, error: type[Exception], code: str
) -> None:
    server.replies = [ok(**body)]
    with pytest.raises(error) as raised:
        await provider.check(user_run(provider_job_id="j"))
    assert raised.value.code == code and "canary" not in str(raised.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "llm_job_unknown"), (401, "llm_unavailable"), (403, "llm_unavailable"), (400, "llm_unavailable")],
)
async def test_an_error_status_of_a_check_is_a_transient_failure(
    server: ScriptedServer, provider: Any, status: int, code: str
) -> None:
    server.replies = [responds(status, b"<html>")]
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.check(user_run(provider_job_id="j"))
    assert trouble.value.code == code


async def retry_after(server: ScriptedServer, provider: Any, header: str) -> timedelta | None:
    server.replies = [responds(429, b"{}", f"Retry-After: {header}")]
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(user_run(), {"text": "hello"}, within=MINUTE)
    return trouble.value.retry_after


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("7.5", 7.5),
        ("0", 0),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        ("Sun Nov  6 08:49:37 1994", 0),
    ],
)
async def test_retry_after_is_seconds_or_a_date_and_never_over_an_hour(
    server: ScriptedServer, provider: Any, header: str, seconds: float
) -> None:
    assert await retry_after(server, provider, header) == timedelta(seconds=seconds)


async def test_a_date_in_retry_after_is_read_as_the_time_until_then(server: ScriptedServer, provider: Any) -> None:
    wait = await retry_after(server, provider, format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert wait is not None and timedelta(seconds=25) < wait <= timedelta(seconds=30)


@pytest.mark.parametrize(
    "header",
    ["", "yesterday", "-5", "+5", "NaN", "9" * 5000, "Wed, 21 Oct 99999999 07:28:00 GMT", "32 Foo 2099"],
    ids=lambda header: header[:20],
)
async def test_a_retry_after_that_cannot_be_read_is_ignored(server: ScriptedServer, provider: Any, header: str) -> None:
    assert await retry_after(server, provider, header) is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": {}}]},
        {"choices": [{"message": {"content": 5}}]},
    ],
)
async def test_a_chat_answer_without_text_is_unreadable(server: ScriptedServer, provider: Any, body: Any) -> None:
    server.replies = [ok(**body)]
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(model_run("chat", api=LlmApi.OPENAI_CHAT), {"full_input": "hello"}, within=MINUTE)
    assert trouble.value.code == "llm_unreadable"


async def test_a_rate_limit_of_a_vendor_is_waited_out_by_its_own_headers(server: ScriptedServer, provider: Any) -> None:
    server.replies = [responds(429, b"{}", "X-RateLimit-Remaining-Tokens: 0", "X-RateLimit-Reset-Tokens: 6m0s")]
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(model_run("chat", api=LlmApi.OPENAI_CHAT), {"full_input": "hello"}, within=MINUTE)
    assert trouble.value.retry_after == timedelta(minutes=6)


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": ""}, "finish_reason": "content_filter"},
        {"message": {"content": ""}, "finish_reason": "content_filter: PROHIBITED_CONTENT"},
        {"message": {"content": None, "refusal": "no"}},
    ],
)
async def test_a_chat_that_declines_is_a_refusal(server: ScriptedServer, provider: Any, choice: Any) -> None:
    server.replies = [ok(choices=[choice])]
    with pytest.raises(LlmRefused) as refusal:
        await provider.start(model_run("chat", api=LlmApi.OPENAI_CHAT), {"full_input": "hello"}, within=MINUTE)
    assert refusal.value.may_be_billed, "the model has read the input"


async def test_a_model_without_its_key_or_record_is_refused_without_a_call(
    server: ScriptedServer, provider: Any
) -> None:
    for model_id, code in (("unset", "llm_credentials"), ("gone", "model_unavailable")):
        with pytest.raises(LlmRefused) as refusal:
            await provider.start(model_run(model_id, api=LlmApi.OPENAI_CHAT), {"full_input": "hello"}, within=MINUTE)
        assert refusal.value.code == code
    with pytest.raises(LlmRefused):
        await provider.start(a_run(model=None, deployment="atlantis"), {"text": "hello"}, within=MINUTE)
    assert server.requests == []


async def test_a_job_sends_only_its_system_message_and_its_input(server: ScriptedServer, provider: Any) -> None:
    server.replies = [responds(202, b'{"job_id": "j-1", "status": "queued"}')]
    content = {"text": ["x"], "system_message": "Be brief.", "full_input": "the input"}
    await provider.start(a_run(deployment="europe", model=None, attempt=1), content, within=MINUTE)
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["input_text"] == "Be brief.\n\nthe input"


async def test_a_cancel_is_posted(server: ScriptedServer, provider: Any) -> None:
    server.replies = [ok(status="cancelled")]
    await provider.cancel(user_run(provider_job_id="j"))
    assert server.requests[0].startswith(b"POST /jobs/j/cancel")


async def test_no_more_runs_are_started_at_once_than_there_are_threads(server: ScriptedServer) -> None:
    http = LlmHttp(threads=2, name="test")
    inside, most = 0, 0

    async def start() -> None:
        nonlocal inside, most
        async with http.slot() as has_room:
            assert has_room
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*[start() for _ in range(10)])
    assert most == 2
    async with http.slot(), http.slot(), http.slot() as has_room:
        assert not has_room
    await asyncio.gather(*[start() for _ in range(4)])


@pytest.mark.slow
async def test_the_time_limit_of_a_call_includes_the_wait_for_a_thread(server: ScriptedServer) -> None:
    server.replies = [waits(2.5), ok(status="running")]
    http = LlmHttp(threads=1, name="test")
    first, second = (asyncio.create_task(http.call("GET", server.url, seconds=limit)) for limit in (2.0, 0.4))
    for call in (first, second):
        with pytest.raises(LlmUnavailable) as trouble:
            await call
        assert trouble.value.code == "llm_timeout"
    assert len(server.requests) == 1
    http.close()


@pytest.mark.parametrize(
    ("reply", "may_be_billed"),
    [
        (responds(429, b"{}"), False),
        (responds(500, b"{}"), False),
        (responds(502, b"{}"), False),
        (responds(503, b"{}"), False),
        (responds(408, b"{}"), True),
        (responds(504, b"{}"), True),
        (responds(200, b"no JSON"), True),
        (closes, True),
        (closes_during_answer, True),
        (waits(2.0), True),
    ],
)
async def test_only_a_call_that_the_llm_may_have_worked_on_counts_as_billed(
    server: ScriptedServer, provider: Any, reply: Any, may_be_billed: bool
) -> None:
    server.replies = [reply]
    with pytest.raises(LlmUnavailable) as trouble:
        await provider.start(model_run("chat", api=LlmApi.OPENAI_CHAT), {"full_input": "hello"}, within=MINUTE)
    assert trouble.value.may_be_billed is may_be_billed


async def test_a_call_that_reaches_no_server_is_not_billed() -> None:
    http = LlmHttp(threads=1, name="test")
    with pytest.raises(LlmUnavailable) as trouble:
        await http.call("POST", "http://127.0.0.1:1/v1", seconds=5, body={})
    assert trouble.value.code == "llm_connection_lost" and not trouble.value.may_be_billed
    http.close()


async def test_a_server_that_keeps_failing_is_left_alone_for_a_while(server: ScriptedServer) -> None:
    http = LlmHttp(threads=1, name="test")
    log.configure(stream=(written := io.StringIO()))
    server.replies = [responds(503, b"{}") for _ in range(20)]
    for _ in range(20):
        with pytest.raises(LlmUnavailable):
            await http.call("POST", server.url, seconds=5, body={})
    log.configure()
    assert len(server.requests) == MAX_FAILURES
    assert '"circuit breaker open", "server": "127.0.0.1"' in written.getvalue()
    with pytest.raises(LlmUnavailable) as trouble:
        async with http.slot():
            pass
    assert trouble.value.code == "llm_overloaded" and trouble.value.retry_after is not None
    http.close()


async def test_a_server_that_hangs_holds_up_no_calls_to_others(server: ScriptedServer) -> None:
    pools = LlmHttpPools(threads=1, name="test")
    server.replies = [waits(1.0)]
    with scripted_server() as healthy:
        healthy.replies = [ok(status="running")]
        hanging = asyncio.create_task(pools.of(server.url).call("GET", server.url, seconds=0.8))
        await asyncio.sleep(0.05)
        answer = await pools.of(healthy.url).call("GET", healthy.url, seconds=0.5)
        assert answer.body == {"status": "running"} and not hanging.done()
        with pytest.raises(LlmUnavailable):
            await hanging
    pools.close()


async def test_a_chunked_answer_is_read_completely(server: ScriptedServer, provider: Any) -> None:
    def in_chunks(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b'{"status":', b' "running", "progress"', b": 0.5}"):
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    server.replies = [in_chunks]
    assert await provider.check(user_run(provider_job_id="j")) == Running(progress=0.5)


RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "output": [
        {"type": "reasoning", "summary": []},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "one "}, {"type": "output_text", "text": "two"}],
        },
    ],
    "usage": {"input_tokens": 1_000_000, "output_tokens": 500_000},
}


async def test_a_response_is_created_in_the_background_with_the_run_in_its_metadata(
    server: ScriptedServer, provider: Any
) -> None:
    server.replies = [ok(id="resp_1", status="queued")]
    run = model_run("responses", api=LlmApi.OPENAI_RESPONSES)
    content = {"system_message": "be brief", "full_input": "how?"}
    assert await provider.start(run, content, within=MINUTE) == JobCreated(provider_job_id="resp_1")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/responses ") and f"Authorization: Bearer {SECRET}".encode() in head
    assert json.loads(body) == {
        "model": "up-1",
        "input": "how?",
        "instructions": "be brief",
        "background": True,
        "store": True,
        "max_output_tokens": 100,
        "metadata": {"run_id": run.id, "attempt": "1"},
    }


async def test_a_response_is_retrieved_until_it_is_complete(server: ScriptedServer, provider: Any) -> None:
    run = model_run("responses", api=LlmApi.OPENAI_RESPONSES, provider_job_id="resp_1")
    server.replies = [ok(id="resp_1", status="queued"), ok(id="resp_1", status="in_progress"), ok(**RESPONSE)]
    assert [await provider.check(run) for _ in range(2)] == [Running(), Running()]
    finished = await provider.check(run)
    assert (finished.result.text, finished.usage.cost_usd) == ("one two", 2.0)
    assert server.requests[-1].startswith(b"GET /v1/responses/resp_1 ") and SECRET.encode() in server.requests[-1]


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "x"}}, LlmUnavailable, "llm_job_failed"),
        ({"status": "failed", "error": {"code": "rate_limit_exceeded"}}, LlmUnavailable, "llm_job_failed"),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "secret"}}, LlmRefused, "llm_refused"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, LlmRefused, "llm_refused"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, LlmRefused, "llm_failed"),
        ({"status": "cancelled"}, LlmRefused, "llm_job_cancelled"),
        ({"status": "completed", "output": [{"content": [{"type": "refusal"}]}]}, LlmRefused, "llm_refused"),
        ({"status": "completed", "output": []}, LlmUnavailable, "llm_unreadable"),
        ({"status": "completed", "output": [{"content": [{"type": "output_text"}]}]}, LlmUnavailable, "llm_unreadable"),
        ({"status": "completed", "output": None}, LlmUnavailable, "llm_unreadable"),
        ({"status": "of a later release"}, LlmUnavailable, "llm_unreadable"),
    ],
)
async def test_each_response_without_a_text_has_a_code(
    server: ScriptedServer, provider: Any, body: Any, error: type[ServiceError], code: str
) -> None:
    server.replies = [ok(**body)]
    with pytest.raises(error) as caught:
        await provider.check(model_run("responses", api=LlmApi.OPENAI_RESPONSES, provider_job_id="resp_1"))
    assert caught.value.code == code and "secret" not in caught.value.message


async def test_a_response_is_cancelled(server: ScriptedServer, provider: Any) -> None:
    server.replies = [ok(id="resp_1", status="cancelled")]
    await provider.cancel(model_run("responses", api=LlmApi.OPENAI_RESPONSES, provider_job_id="resp_1"))
    assert server.requests[0].startswith(b"POST /v1/responses/resp_1/cancel ")


def anthropic_error(status: int, kind: str) -> Reply:
    return responds(status, json.dumps({"type": "error", "error": {"type": kind, "message": "secret"}}).encode())


async def test_a_message_sends_the_key_the_version_and_a_token_limit(server: ScriptedServer, provider: Any) -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 500_000}
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "well"}]
    server.replies = [ok(content=blocks, stop_reason="end_turn", usage=usage)]
    run = model_run("messages", api=LlmApi.ANTHROPIC_MESSAGES)
    finished = await provider.start(run, {"system_message": "be brief", "full_input": "how?"}, within=MINUTE)
    assert (finished.result.text, finished.usage.cost_usd) == ("well", 2.0)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/messages ")
    assert f"x-api-key: {SECRET}".encode() in head and b"anthropic-version: 2023-06-01" in head
    assert json.loads(body) == {
        "model": "up-1",
        "max_tokens": 8192,
        "stream": True,
        "system": "be brief",
        "messages": [{"role": "user", "content": "how?"}],
    }


@pytest.mark.parametrize(
    ("reply", "error", "code"),
    [
        (ok(content=[], stop_reason="refusal"), LlmRefused, "llm_refused"),
        (ok(content=[], stop_reason="end_turn"), LlmUnavailable, "llm_unreadable"),
        (ok(stop_reason="end_turn"), LlmUnavailable, "llm_unreadable"),
        (anthropic_error(529, "overloaded_error"), LlmUnavailable, "llm_overloaded"),
        (
            anthropic_error(429, "rate_limit_error"),
            LlmUnavailable,
            "llm_rate_limited",
        ),
        (anthropic_error(401, "authentication_error"), LlmRefused, "llm_credentials"),
        (anthropic_error(402, "billing_error"), LlmRefused, "llm_quota_exhausted"),
        (anthropic_error(413, "request_too_large"), LlmRefused, "llm_input_too_long"),
    ],
)
async def test_each_message_without_a_text_has_a_code(
    server: ScriptedServer, provider: Any, reply: Reply, error: type[ServiceError], code: str
) -> None:
    server.replies = [reply]
    with pytest.raises(error) as caught:
        await provider.start(
            model_run("messages", api=LlmApi.ANTHROPIC_MESSAGES), {"full_input": "hello"}, within=MINUTE
        )
    assert caught.value.code == code


async def test_a_protocol_of_a_later_release_is_refused_without_a_call(server: ScriptedServer, provider: Any) -> None:
    run = model_run("chat", api="of_a_later_release")
    async with provider.slot(run) as has_room:
        assert has_room
    with pytest.raises(LlmRefused) as caught:
        await provider.start(run, {"full_input": "hello"}, within=MINUTE)
    assert caught.value.code == "model_unavailable" and not server.requests
