"""An answer that the model's token limit has ended says so, and half of a JSON object is no success."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from shared.adapters.llm import messages, responses
from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.http import LlmHttpPools
from shared.adapters.llm.protocol import LlmCall
from shared.domain.directory import Model
from shared.domain.frozen import replace
from shared.domain.progress import Finished
from shared.domain.result import Result
from shared.errors import LlmRefused
from tests.contract.llm_server import ScriptedServer, scripted_server
from tests.contract.runs import a_run
from tests.contract.test_llm_provider import ok

USAGE = {"input_tokens": 3, "output_tokens": 5}
HALF = '{"rivers": ["Rhine", "Da'
WHOLE = '{"rivers": ["Rhine"]}'


def of_message(text: str, stop_reason: str = "max_tokens") -> Finished:
    content = [{"type": "text", "text": text}] if text else []
    return messages.read_message({"content": content, "stop_reason": stop_reason, "usage": USAGE}, None)


def of_response(text: str) -> Finished:
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}] if text else []
    reason = {"reason": "max_output_tokens"}
    body = {"status": "incomplete", "incomplete_details": reason, "output": output, "usage": USAGE}
    return responses.read_incomplete(body, None)


READERS: list[Callable[[str], Finished]] = [of_message, of_response]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("text", ["Three rivers: the Rhi", WHOLE])
def test_a_text_of_use_is_the_result_and_says_that_it_is_cut_off(read: Callable[[str], Finished], text: str) -> None:
    finished = read(text)
    assert finished.result == Result(text=text, cut_off=True) and finished.usage.output_tokens == 5


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("text", [HALF, f"\n {HALF}", "{", "", " \n"])
def test_half_of_a_json_object_and_an_answer_without_text_fail_the_run(
    read: Callable[[str], Finished], text: str
) -> None:
    with pytest.raises(LlmRefused, match="raise max_output_tokens") as refusal:
        read(text)
    assert (refusal.value.code, refusal.value.may_be_billed) == ("llm_failed", True)


def test_an_answer_that_ended_by_itself_is_not_cut_off() -> None:
    assert of_message(HALF, "end_turn").result == Result(text=HALF)


def test_a_full_context_window_ends_an_answer_too() -> None:
    assert of_message("The Rhi", "model_context_window_exceeded").result.cut_off


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


async def asked(server: ScriptedServer, body: Mapping[str, Any]) -> Finished:
    pools = LlmHttpPools(threads=2, name="test")
    model = Model(id="m", name="M", provider="p", api="openai_chat", upstream_model="u")
    run = replace(a_run(), attempt=1)
    server.replies = [ok(**body)]
    try:
        chat = ChatProtocol(pools, seconds=5.0, secrets=lambda name: None)
        call = LlmCall(run=run, base_url=server.url, model=model)
        return await chat.start(call, {"full_input": "Name rivers."}, seconds=5.0)
    finally:
        pools.close()


@pytest.mark.parametrize("text", ["The Rhi", WHOLE])
async def test_a_chat_that_was_cut_off_says_so(server: ScriptedServer, text: str) -> None:
    finished = await asked(server, {"choices": [{"message": {"content": text}, "finish_reason": "length"}]})
    assert finished.result == Result(text=text, cut_off=True)


@pytest.mark.parametrize("content", [HALF, "", None])
async def test_a_chat_of_no_use_fails(server: ScriptedServer, content: str | None) -> None:
    with pytest.raises(LlmRefused) as refusal:
        await asked(server, {"choices": [{"message": {"content": content}, "finish_reason": "length"}]})
    assert (refusal.value.code, refusal.value.may_be_billed) == ("llm_failed", True)
