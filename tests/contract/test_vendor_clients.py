"""The vendors' own Python clients talk to the simulated LLM, so it is a fair double of theirs.

They are imported by the tests that use them: each worker collects this file, and both take seconds to import.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
import uvicorn

from infra.local.simulator import Simulator

if TYPE_CHECKING:
    import anthropic
    import openai
    from openai.types.responses import Response


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = Simulator(seconds=0.2).app()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def chatgpt(url: str) -> Iterator[openai.OpenAI]:
    with import_module("openai").OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with import_module("anthropic").Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


def completed(client: openai.OpenAI, response: Response) -> Response:
    until = time.monotonic() + 10
    while response.status in ("queued", "in_progress") and time.monotonic() < until:
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


def test_openais_client_reads_a_chat_completion(chatgpt: openai.OpenAI) -> None:
    answer = chatgpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello world"}])
    assert answer.choices[0].finish_reason == "stop" and "2 words" in (answer.choices[0].message.content or "")
    assert answer.usage is not None and answer.usage.total_tokens > answer.usage.prompt_tokens > 0


def test_openais_client_creates_and_retrieves_a_response_in_the_background(chatgpt: openai.OpenAI) -> None:
    created = chatgpt.responses.create(model="m", input="hello world", background=True, metadata={"run_id": "r"})
    assert created.status == "in_progress" and created.background
    answer = completed(chatgpt, created)
    assert answer.id == created.id and answer.status == "completed" and "2 words" in answer.output_text
    assert answer.usage is not None and answer.usage.total_tokens > answer.usage.input_tokens > 0


def test_openais_client_cancels_a_response(chatgpt: openai.OpenAI) -> None:
    created = chatgpt.responses.create(model="m", input="[[never]]", background=True)
    assert chatgpt.responses.cancel(created.id).status == "cancelled"
    assert chatgpt.responses.retrieve(created.id).status == "cancelled"


def test_openais_client_sees_why_a_response_failed_or_was_refused(chatgpt: openai.OpenAI) -> None:
    failed = completed(chatgpt, chatgpt.responses.create(model="m", input="[[fail]]", background=True))
    assert failed.status == "failed" and failed.error is not None and failed.error.code == "server_error"
    refused = completed(chatgpt, chatgpt.responses.create(model="m", input="[[refuse]]", background=True))
    assert [part.type for item in refused.output if item.type == "message" for part in item.content] == ["refusal"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[fail]]", "BadRequestError"),
        ("[[refuse]]", "UnprocessableEntityError"),
        ("[[rate-limit]]", "RateLimitError"),
        ("[[slow 5]]", "APITimeoutError"),
    ],
)
def test_errors_are_those_of_openais_client(chatgpt: openai.OpenAI, text: str, error: str) -> None:
    with pytest.raises(getattr(import_module("openai"), error)) as caught:
        chatgpt.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], timeout=0.5)
    if isinstance(caught.value, import_module("openai").APIStatusError):
        assert caught.value.code and caught.value.message


def test_an_unknown_response_is_openais_not_found(chatgpt: openai.OpenAI) -> None:
    with pytest.raises(import_module("openai").NotFoundError):
        chatgpt.responses.retrieve("resp_0")


def test_openais_client_waits_as_long_as_the_rate_limit_says(chatgpt: openai.OpenAI) -> None:
    patient = chatgpt.with_options(max_retries=2)
    answer = patient.chat.completions.create(model="m", messages=[{"role": "user", "content": "again [[rate-limit]]"}])
    assert answer.choices[0].message.content


def test_openais_client_creates_and_reads_a_batch(chatgpt: openai.OpenAI) -> None:
    line = b'{"custom_id": "r-1", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "hello"}}\n'
    file = chatgpt.files.create(file=("one.jsonl", line), purpose="batch")
    batch = chatgpt.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    while batch.status == "in_progress":
        time.sleep(0.05)
        batch = chatgpt.batches.retrieve(batch.id)
    assert batch.status == "completed" and batch.output_file_id is not None
    assert '"custom_id": "r-1"' in chatgpt.files.content(batch.output_file_id).text


def test_anthropics_client_reads_a_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model="m", max_tokens=100, system="be brief", messages=[{"role": "user", "content": "hello world"}]
    )
    assert answer.stop_reason == "end_turn" and answer.content[0].type == "text"
    assert "4 words" in answer.content[0].text
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


def test_anthropics_client_sees_a_refusal(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "[[refuse]]"}])
    assert answer.stop_reason == "refusal" and answer.content == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[fail]]", "BadRequestError"),
        ("[[rate-limit]] me", "RateLimitError"),
        ("[[slow 5]]", "APITimeoutError"),
    ],
)
def test_errors_are_those_of_anthropics_client(claude: anthropic.Anthropic, text: str, error: str) -> None:
    with pytest.raises(getattr(import_module("anthropic"), error)):
        claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": text}], timeout=0.5)


def test_anthropics_client_creates_and_reads_a_batch(claude: anthropic.Anthropic) -> None:
    batch = claude.messages.batches.create(
        requests=[
            {
                "custom_id": "r-1",
                "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
            }
        ]
    )
    while batch.processing_status == "in_progress":
        time.sleep(0.05)
        batch = claude.messages.batches.retrieve(batch.id)
    [line] = claude.messages.batches.results(batch.id)
    assert line.custom_id == "r-1" and line.result.type == "succeeded"
