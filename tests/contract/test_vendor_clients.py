"""The vendors' own Python clients talk to the simulated LLM, so it is a fair double of theirs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import uvicorn

from infra.local.simulator import Simulator
from tests.lazy import lazily_loaded

pytestmark = pytest.mark.slow
"""Loading the vendors' clients takes seconds."""

if TYPE_CHECKING:
    import anthropic
    import openai
    from anthropic.types.messages import MessageBatchIndividualResponse
    from openai.types import Batch
    from openai.types.responses import Response
else:
    anthropic, openai = lazily_loaded("anthropic"), lazily_loaded("openai")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = Simulator(seconds=0.2).app()
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def chatgpt(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
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


OPENAIS_ERRORS = [
    ("[[rate-limit]]", "RateLimitError"),
    ("[[quota]]", "RateLimitError"),
    ("[[too-long]]", "BadRequestError"),
    ("[[bad-key]]", "AuthenticationError"),
    ("[[model-gone]]", "NotFoundError"),
    ("[[overloaded]]", "InternalServerError"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "error"),
    [*OPENAIS_ERRORS, ("[[fail]]", "BadRequestError"), ("[[refuse]]", "BadRequestError")],
)
def test_errors_of_a_chat_are_those_of_openais_client(
    chatgpt: openai.OpenAI, text: str, error: str, stream: bool
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        message = {"role": "user", "content": f"{text} {stream}"}
        chatgpt.chat.completions.create(model="m", messages=[message], stream=stream)
    assert type(caught.value).__name__ == error and caught.value.message and caught.value.request_id
    assert caught.value.code or text == "[[fail]]"


@pytest.mark.parametrize(("text", "error"), OPENAIS_ERRORS)
def test_errors_of_a_response_are_those_of_openais_client(chatgpt: openai.OpenAI, text: str, error: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        chatgpt.responses.create(model="m", input=text, background=True)
    assert type(caught.value).__name__ == error and caught.value.code


@pytest.mark.parametrize("text", ["[[rate-limit]]", "[[quota]]", "[[bad-key]]", "[[overloaded]]"])
def test_errors_of_a_batch_are_those_of_openais_client(chatgpt: openai.OpenAI, text: str) -> None:
    with pytest.raises(getattr(openai, dict(OPENAIS_ERRORS)[text])):
        openais_batch(chatgpt, text)


def test_openais_client_sees_why_a_batch_failed(chatgpt: openai.OpenAI) -> None:
    gone = openais_batch(chatgpt, "[[model-gone]]")
    assert gone.status == "failed" and gone.errors is not None and gone.errors.data is not None
    assert [(error.code, error.line) for error in gone.errors.data] == [("model_not_found", 1)]
    too_long = openais_batch(chatgpt, "[[too-long]]")
    assert too_long.status == "completed" and too_long.output_file_id is None and too_long.error_file_id is not None
    assert "context_length_exceeded" in chatgpt.files.content(too_long.error_file_id).text


@pytest.mark.parametrize("text", ["[[slow 5]]", "[[never]]"])
def test_a_slow_answer_is_a_timeout_of_openais_client(chatgpt: openai.OpenAI, text: str) -> None:
    with pytest.raises(openai.APITimeoutError):
        chatgpt.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], timeout=0.3)


def test_garbage_is_no_completion_for_openais_client(chatgpt: openai.OpenAI) -> None:
    """The client returns the text of an answer that is no JSON."""
    answer = chatgpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "[[garbage]]"}])
    assert "<html>" in str(answer)


def test_openais_client_streams_a_chat(chatgpt: openai.OpenAI) -> None:
    whole = chatgpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello world"}])
    with chatgpt.chat.completions.stream(
        model="m",
        messages=[{"role": "user", "content": "hello world"}],
        stream_options={"include_usage": True},
    ) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        streamed = stream.get_final_completion()
    assert len(texts) > 3 and "".join(texts) == whole.choices[0].message.content
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.choices[0].finish_reason == "stop" and streamed.usage == whole.usage


def test_openais_client_sees_that_an_answer_was_cut_off(chatgpt: openai.OpenAI) -> None:
    answer = chatgpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "[[cut-off]]"}])
    assert answer.choices[0].finish_reason == "length"
    created = chatgpt.responses.create(model="m", input="[[cut-off]]", background=True)
    response = completed(chatgpt, created)
    assert response.status == "incomplete" and response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_an_error_in_a_chats_stream_is_one_of_openais_client(chatgpt: openai.OpenAI) -> None:
    stream = chatgpt.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "[[fail-midway]]"}], stream=True
    )
    with pytest.raises(openai.APIError, match="server had an error"):
        list(stream)


def test_openais_client_streams_a_response_in_the_background(chatgpt: openai.OpenAI) -> None:
    with chatgpt.responses.stream(model="m", input="hello world", background=True) as stream:
        events = list(stream)
        answer = stream.get_final_response()
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len(texts) > 3 and "".join(texts) == answer.output_text and "2 words" in answer.output_text
    assert answer.usage is not None and answer.usage.output_tokens > 0


def test_openais_client_goes_on_with_the_stream_of_a_response(chatgpt: openai.OpenAI) -> None:
    with chatgpt.responses.stream(model="m", input="hello again", background=True) as stream:
        first = [next(iter(stream)) for _ in range(3)]
    response_id = first[0].response.id
    rest = list(chatgpt.responses.retrieve(response_id, stream=True, starting_after=first[-1].sequence_number))
    assert rest[0].sequence_number == first[-1].sequence_number + 1 and rest[-1].type == "response.completed"


def test_openais_client_sees_the_failure_of_a_streamed_response(chatgpt: openai.OpenAI) -> None:
    with chatgpt.responses.stream(model="m", input="[[fail]]", background=True) as stream:
        last = list(stream)[-1]
    assert last.type == "response.failed" and last.response.error is not None
    assert last.response.error.code == "server_error"


def test_an_unknown_response_is_openais_not_found(chatgpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        chatgpt.responses.retrieve("resp_0")


@pytest.mark.slow
def test_openais_client_waits_as_long_as_the_rate_limit_says(chatgpt: openai.OpenAI) -> None:
    patient = chatgpt.with_options(max_retries=2)
    answer = patient.chat.completions.create(model="m", messages=[{"role": "user", "content": "again [[rate-limit]]"}])
    assert answer.choices[0].message.content


def openais_batch(client: openai.OpenAI, text: str) -> Batch:
    body = {"model": "m", "input": text}
    line = {"custom_id": "r-1", "method": "POST", "url": "/v1/responses", "body": body}
    file = client.files.create(file=("one.jsonl", json.dumps(line).encode() + b"\n"), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    while batch.status == "in_progress":
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def test_openais_client_creates_and_reads_a_batch(chatgpt: openai.OpenAI) -> None:
    batch = openais_batch(chatgpt, "hello")
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


ANTHROPICS_ERRORS = [
    ("[[fail]]", "BadRequestError"),
    ("[[rate-limit]]", "RateLimitError"),
    ("[[quota]]", "BadRequestError"),
    ("[[too-long]]", "BadRequestError"),
    ("[[bad-key]]", "AuthenticationError"),
    ("[[model-gone]]", "NotFoundError"),
    ("[[overloaded]]", "OverloadedError"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("text", "error"), ANTHROPICS_ERRORS)
def test_errors_of_a_message_are_those_of_anthropics_client(
    claude: anthropic.Anthropic, text: str, error: str, stream: bool
) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        message = {"role": "user", "content": f"{text} {stream}"}
        claude.messages.create(model="m", max_tokens=9, messages=[message], stream=stream)
    assert type(caught.value).__name__ == error and caught.value.request_id


@pytest.mark.parametrize("text", ["[[slow 5]]", "[[never]]"])
def test_a_slow_answer_is_a_timeout_of_anthropics_client(claude: anthropic.Anthropic, text: str) -> None:
    with pytest.raises(anthropic.APITimeoutError):
        claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": text}], timeout=0.3)


def test_anthropics_client_streams_a_message(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="m", max_tokens=99, messages=[{"role": "user", "content": "hello world"}])
    with claude.messages.stream(
        model="m", max_tokens=99, messages=[{"role": "user", "content": "hello world"}]
    ) as stream:
        texts = list(stream.text_stream)
        streamed = stream.get_final_message()
    assert len(texts) > 3 and whole.content[0].type == "text" and "".join(texts) == whole.content[0].text
    assert [block.type for block in streamed.content] == ["text"] and streamed.usage == whole.usage
    assert streamed.stop_reason == "end_turn"


def test_anthropics_client_sees_that_an_answer_was_cut_off(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "[[cut-off]]"}])
    assert answer.stop_reason == "max_tokens"


def test_an_error_in_a_messages_stream_is_one_of_anthropics_client(claude: anthropic.Anthropic) -> None:
    messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": "[[fail-midway]]"}]
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        claude.messages.stream(model="m", max_tokens=99, messages=messages) as stream,
    ):
        list(stream)


@pytest.mark.parametrize(("text", "kind"), [("[[too-long]]", "invalid_request"), ("[[model-gone]]", "not_found")])
def test_anthropics_client_sees_why_a_request_of_a_batch_failed(
    claude: anthropic.Anthropic, text: str, kind: str
) -> None:
    result = anthropics_batch(claude, text).result
    assert result.type == "errored" and result.error.error.type == f"{kind}_error"


@pytest.mark.parametrize("text", ["[[rate-limit]]", "[[quota]]", "[[bad-key]]", "[[overloaded]]"])
def test_errors_of_a_batch_are_those_of_anthropics_client(claude: anthropic.Anthropic, text: str) -> None:
    with pytest.raises(getattr(anthropic, dict(ANTHROPICS_ERRORS)[text])):
        anthropics_batch(claude, text)


def anthropics_batch(client: anthropic.Anthropic, text: str) -> MessageBatchIndividualResponse:
    """Creates a batch of one request and returns its line of the results."""
    messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": text}]
    of_request = anthropic.types.message_create_params.MessageCreateParamsNonStreaming
    params = of_request(model="m", max_tokens=9, messages=messages)
    batch = client.messages.batches.create(requests=[{"custom_id": "r-1", "params": params}])
    while batch.processing_status == "in_progress":
        time.sleep(0.05)
        batch = client.messages.batches.retrieve(batch.id)
    [line] = client.messages.batches.results(batch.id)
    return line


def test_anthropics_client_creates_and_reads_a_batch(claude: anthropic.Anthropic) -> None:
    line = anthropics_batch(claude, "hello")
    assert line.custom_id == "r-1" and line.result.type == "succeeded"
