"""Tests how both synchronous protocols read a streamed answer, and each way in which a stream goes wrong."""

import asyncio
import json
import select
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.llm.answer_stream import AnswerStream, StreamLimits
from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.chat_stream import ChatAnswer
from shared.adapters.llm.event_stream import MAX_EVENT_BYTES, EventStreamParser, EventTooLarge
from shared.adapters.llm.http import LlmHttp, LlmHttpPools
from shared.adapters.llm.messages import MessagesProtocol
from shared.adapters.llm.provider import DirectoryLlmProvider
from shared.domain.directory import LlmApi
from shared.domain.progress import Finished
from shared.errors import LlmRefused, LlmUnavailable
from tests.contract.llm_server import ScriptedServer, responds, scripted_server, streams
from tests.contract.test_llm_provider import Records, model_run

CHAT, MESSAGES = LlmApi.OPENAI_CHAT, LlmApi.ANTHROPIC_MESSAGES
DONE = "data: [DONE]\n\n"
LIMIT = 1.0
"""Seconds of a call."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def provider(server: ScriptedServer) -> Iterator[DirectoryLlmProvider]:
    pools = LlmHttpPools(threads=4, name="test")
    protocols: Any = {CHAT: ChatProtocol, MESSAGES: MessagesProtocol}
    yield DirectoryLlmProvider(
        Records(server.url),
        deployments={},
        asynchronous={},
        synchronous={
            api: protocol(pools, seconds=LIMIT, secrets=lambda name: "key") for api, protocol in protocols.items()
        },
    )
    pools.close()


@pytest.fixture
def http() -> Iterator[LlmHttp]:
    http = LlmHttp(threads=1, name="test")
    yield http
    http.close()


def data(**body: Any) -> str:
    return f"data: {json.dumps(body)}\n\n"


def chunk(content: str | None = None, finish_reason: str | None = None, **delta: Any) -> str:
    delta = {**delta, **({"content": content} if content is not None else {})}
    return data(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}], usage=None)


def event(kind: str, **body: Any) -> str:
    return f"event: {kind}\n{data(type=kind, **body)}"


def text(content: str, index: int = 0) -> str:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": content})


def block(index: int = 0, **more: Any) -> str:
    return event("content_block_start", index=index, content_block={"type": "text", "text": "", **more})


START = event("message_start", message={"id": "m", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}})
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}) + event("message_stop")
BEGINNINGS = {CHAT: chunk("Once "), MESSAGES: START + block() + text("Once ")}
"""A stream of each protocol with some text."""


async def ask(provider: DirectoryLlmProvider, api: LlmApi, **more: Any) -> tuple[Finished, list[str]]:
    """Returns (the answer, its pieces as they came)."""
    pieces: list[str] = []
    run = model_run("chat" if api is CHAT else "messages", api=api)
    content = {"full_input": "how?"}
    finished = await provider.start(run, content, within=timedelta(minutes=1), on_text=pieces.append, **more)
    await asyncio.sleep(0)  # the last piece may be handed over when the answer is
    assert isinstance(finished, Finished)
    return finished, pieces


async def test_a_streamed_chat_is_handed_over_in_pieces_and_ends_with_its_usage(
    server: ScriptedServer, provider: Any
) -> None:
    usage = data(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 2})
    events = (chunk("", role="assistant"), 0.15, chunk("Once "), 0.15, chunk("upon"), chunk("", "stop"), usage, DONE)
    server.replies = [streams(": a comment\n\n", *events)]
    finished, pieces = await ask(provider, CHAT)
    assert finished.result.text == "".join(pieces) == "Once upon"
    assert len(pieces) == 2
    assert (finished.usage.input_tokens, finished.usage.output_tokens) == (7, 2)
    assert 0.1 < (finished.usage.first_token_seconds or 0) < 0.29
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["stream"] is True


async def test_a_streamed_message_is_handed_over_in_pieces_and_ends_with_its_usage(
    server: ScriptedServer, provider: Any
) -> None:
    thinking = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    thinking += event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
    ping, later = event("ping"), event("of_a_later_release", anything=1)
    server.replies = [streams(START, ping, thinking, block(1), text("Once ", 1), 0.15, later, text("upon", 1), STOP)]
    finished, pieces = await ask(provider, MESSAGES)
    assert finished.result.text == "".join(pieces) == "Once upon"
    assert (finished.usage.input_tokens, finished.usage.output_tokens) == (9, 5)
    assert finished.usage.first_token_seconds is not None


async def test_a_server_that_ignores_the_wish_for_a_stream_answers_with_one_body(
    server: ScriptedServer, provider: Any
) -> None:
    body = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7}}
    server.replies = [responds(200, json.dumps(body).encode(), "Content-Type: application/json")]
    finished, pieces = await ask(provider, CHAT)
    assert (finished.result.text, pieces, finished.usage.first_token_seconds) == ("fine", [], None)


REFUSAL_OF_OPTIONS = {
    "object": "error",
    "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"]}]},
}
"""Of Mistral: https://github.com/openai/openai-agents-python/issues/442"""
REFUSAL_OF_STREAM = {
    "error": {
        "message": "Your organization must be verified to stream this model.",
        "type": "invalid_request_error",
        "param": "stream",
        "code": "unsupported_value",
    }
}
"""Of OpenAI: https://github.com/openai/openai-python/issues/2298"""


async def test_what_a_server_refuses_of_a_stream_is_left_out_from_then_on(
    server: ScriptedServer, provider: Any
) -> None:
    whole = json.dumps({"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}).encode()
    server.replies = [
        responds(422, json.dumps(REFUSAL_OF_OPTIONS).encode()),
        streams(chunk("fine", "stop"), DONE),
        streams(chunk("fine", "stop"), DONE),
        responds(400, json.dumps(REFUSAL_OF_STREAM).encode()),
        responds(200, whole),
        responds(200, whole),
    ]
    for _ in range(4):
        finished, _ = await ask(provider, CHAT)
        assert finished.result.text == "fine"
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]
    asked = [(body.get("stream"), "stream_options" in body) for body in bodies]
    assert asked == [(True, True), (True, False), (True, False), (True, False), (None, False), (None, False)]


async def test_an_input_that_is_refused_changes_no_form_of_later_calls(server: ScriptedServer, provider: Any) -> None:
    refused = responds(400, b'{"error": {"message": "a river is no stream"}}')
    server.replies = [refused, refused, streams(chunk("fine", "stop"), DONE)]
    with pytest.raises(LlmRefused):
        await ask(provider, CHAT)
    assert (await ask(provider, CHAT))[1] == ["fine"]


@pytest.mark.parametrize(
    ("api", "events", "code"),
    [
        (CHAT, (data(error={"message": "secret", "type": "server_error", "code": None}), DONE), "llm_unavailable"),
        (CHAT, (data(error={"message": "secret", "code": 502}),), "llm_unavailable"),
        (CHAT, (data(error={"type": "tokens", "code": "rate_limit_exceeded"}),), "llm_rate_limited"),
        (CHAT, (data(error="secret"),), "llm_unavailable"),
        (CHAT, ("data: <html>502</html>\n\n",), "llm_unreadable"),
        (CHAT, ("data: [1]\n\n",), "llm_unreadable"),
        (CHAT, (data(choices=[7]),), "llm_unreadable"),
        (CHAT, (f"data: {'x' * (MAX_EVENT_BYTES + 1)}",), "llm_unreadable"),
        (CHAT, (), "llm_connection_lost"),
        (CHAT, ('data: {"choices": [{"ind',), "llm_connection_lost"),
        (MESSAGES, (event("error", error={"type": "overloaded_error", "message": "secret"}),), "llm_overloaded"),
        (MESSAGES, (event("error", error={"type": "rate_limit_error"}),), "llm_rate_limited"),
        (MESSAGES, (event("error"),), "llm_unreadable"),
        (MESSAGES, (text("an index that never began", 7),), "llm_unreadable"),
        (MESSAGES, ("data: <html>502</html>\n\n",), "llm_unreadable"),
        (MESSAGES, (), "llm_connection_lost"),
    ],
)
async def test_a_stream_that_goes_wrong_amid_the_answer_has_a_code_and_may_be_billed(
    server: ScriptedServer, provider: Any, api: LlmApi, events: tuple[str, ...], code: str
) -> None:
    server.replies = [streams(BEGINNINGS[api], *events)]
    with pytest.raises(LlmUnavailable) as trouble:
        await ask(provider, api)
    assert (trouble.value.code, trouble.value.may_be_billed) == (code, True)
    assert "secret" not in trouble.value.message


@pytest.mark.parametrize(
    ("api", "events", "code"),
    [
        (CHAT, (data(error={"type": "insufficient_quota", "code": "insufficient_quota"}),), "llm_quota_exhausted"),
        (CHAT, (data(error={"type": "invalid_request_error", "message": "secret"}),), "llm_refused"),
        (CHAT, (chunk(refusal="no"), chunk(finish_reason="stop"), DONE), "llm_refused"),
        (CHAT, (chunk("so", "content_filter"), DONE), "llm_refused"),
        (MESSAGES, (event("error", error={"type": "authentication_error"}),), "llm_credentials"),
        (MESSAGES, (START, event("message_delta", delta={"stop_reason": "refusal"}), STOP[-30:]), "llm_refused"),
    ],
)
async def test_a_stream_that_is_refused_has_a_code(
    server: ScriptedServer, provider: Any, api: LlmApi, events: tuple[str, ...], code: str
) -> None:
    server.replies = [streams(*events)]
    with pytest.raises(LlmRefused) as refusal:
        await ask(provider, api)
    assert refusal.value.code == code


@pytest.mark.parametrize("ends", [True, False])
async def test_an_error_before_the_first_text_is_not_billed(server: ScriptedServer, provider: Any, ends: bool) -> None:
    server.replies = [streams(START, event("error", error={"type": "overloaded_error"}), ends=ends)]
    with pytest.raises(LlmUnavailable) as trouble:
        await ask(provider, MESSAGES)
    assert not trouble.value.may_be_billed


@pytest.mark.parametrize("api", [CHAT, MESSAGES])
async def test_a_connection_that_breaks_amid_the_answer_is_lost_and_may_be_billed(
    server: ScriptedServer, provider: Any, api: LlmApi
) -> None:
    server.replies = [streams(BEGINNINGS[api], ends=False)]
    with pytest.raises(LlmUnavailable) as trouble:
        await ask(provider, api)
    assert (trouble.value.code, trouble.value.may_be_billed) == ("llm_connection_lost", True)


async def test_a_whole_text_is_kept_although_its_stream_breaks_before_the_usage(
    server: ScriptedServer, provider: Any
) -> None:
    """Also of a server that sends no last event."""
    server.replies = [streams(chunk("fine", "stop"), ends=ends) for ends in (True, False)]
    for _ in range(2):
        finished, _ = await ask(provider, CHAT)
        assert finished.result.text == "fine" and finished.usage.output_tokens == 0


@pytest.mark.parametrize("api", [CHAT, MESSAGES])
async def test_an_llm_that_still_writes_when_its_time_is_over_is_cut_off(
    server: ScriptedServer, provider: Any, api: LlmApi
) -> None:
    piece = chunk("and ") if api is CHAT else text("and ")
    server.replies = [streams(BEGINNINGS[api], *(0.05, piece) * 100)]
    began = time.monotonic()
    with pytest.raises(LlmRefused) as refusal:
        await ask(provider, api)
    assert time.monotonic() - began < LIMIT + 0.4
    assert (refusal.value.code, refusal.value.may_be_billed) == ("llm_cut_off", True)
    [characters] = [int(word) for word in refusal.value.message.split() if word.isdigit()]
    assert 20 < characters < 100


@pytest.mark.parametrize("api", [CHAT, MESSAGES])
async def test_a_stream_without_text_times_out(server: ScriptedServer, provider: Any, api: LlmApi) -> None:
    """Neither a drip of comments nor one of pings is an answer."""
    drip = ": still here\n\n" if api is CHAT else event("ping")
    server.replies = [streams(*(drip, 0.05) * 100)]
    with pytest.raises(LlmUnavailable) as trouble:
        await ask(provider, api)
    assert (trouble.value.code, trouble.value.may_be_billed) == ("llm_timeout", True)


async def test_an_llm_that_falls_silent_amid_the_answer_times_out_before_the_end_of_the_call(
    server: ScriptedServer, http: LlmHttp
) -> None:
    server.replies = [streams(chunk("Once "), 3.0)]
    limits = StreamLimits(max_silence_seconds=0.2, writing_seconds=0.1)
    began = time.monotonic()
    with pytest.raises(LlmUnavailable) as trouble:
        await http.call("POST", server.url, seconds=2, body={}, stream=AnswerStream(ChatAnswer(), limits=limits))
    assert time.monotonic() - began < 0.8
    assert (trouble.value.code, trouble.value.may_be_billed) == ("llm_answer_timeout", True)


async def test_an_answer_beyond_the_limit_of_size_is_unreadable(server: ScriptedServer, http: LlmHttp) -> None:
    server.replies = [streams(chunk("Once "), chunk("upon a time"), DONE)]
    stream = AnswerStream(ChatAnswer(), limits=StreamLimits(max_characters=10))
    with pytest.raises(LlmUnavailable) as trouble:
        await http.call("POST", server.url, seconds=2, body={}, stream=stream)
    assert trouble.value.code == "llm_unreadable"


async def test_a_cancelled_call_closes_its_connection_at_once(server: ScriptedServer, provider: Any) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def writes_once_and_waits(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chunk("Once ").encode())
        select.select([connection], [], [], 5)
        loop.call_soon_threadsafe(closed.set)

    server.replies = [writes_once_and_waits]
    call = asyncio.create_task(ask(provider, CHAT))
    await asyncio.sleep(0.2)
    call.cancel()
    began = time.monotonic()
    await asyncio.wait_for(closed.wait(), 2)
    assert time.monotonic() - began < 0.3


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_the_same_however_their_bytes_are_cut(size: int) -> None:
    whole = 'event: x\r\ndata: {"a":\r\ndata: "ü"}\r\n\r\n: comment\n\nid: 7\ndata:plain\n\ndata: unfinished'.encode()
    parser = EventStreamParser()
    events = [one for start in range(0, len(whole), size) for one in parser.feed(whole[start : start + size])]
    assert events == ['{"a":\n"ü"}', "plain"]


def test_an_event_of_endless_lines_is_too_large() -> None:
    parser = EventStreamParser()
    with pytest.raises(EventTooLarge):
        for _ in range(2000):
            parser.feed(b"data: " + b"x" * 1000 + b"\n")
