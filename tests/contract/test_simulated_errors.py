"""The simulated LLM answers each marker with the vendor's own status, headers and body."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from infra.local.simulated_errors import CHAT, MESSAGES, OPENAI_BATCH_ERRORS, OPENAI_JOB_ERROR, RESPONSES
from infra.local.simulator import Simulator
from tests.contract.vendor_errors import (
    OPENAI_BATCH_FAILURES,
    OPENAI_JOB_FAILURE,
    VENDOR_RESPONSES,
    VendorResponse,
)

OPENAI = {
    "[[rate-limit]]": "rate limit with a wait in milliseconds",
    "[[overloaded]]": "overloaded",
    "[[quota]]": "quota exhausted",
    "[[bad-key]]": "bad key",
    "[[model-gone]]": "model gone",
}
RECORDED: Mapping[str, Mapping[str, str]] = {
    "openai_chat": {
        **OPENAI,
        "[[too-long]]": "context too long in a chat",
        "[[refuse]]": "refused content",
        "[[fail]]": "invalid value",
    },
    "openai_responses": {**OPENAI, "[[too-long]]": "context too long in a response"},
    "anthropic_messages": {
        "[[rate-limit]]": "rate limit",
        "[[overloaded]]": "overloaded",
        "[[quota]]": "no credits",
        "[[bad-key]]": "bad key",
        "[[model-gone]]": "model gone",
        "[[too-long]]": "prompt too long",
        "[[fail]]": "invalid request",
    },
}
"""{protocol: {marker: the recorded response}}"""
SIMULATED = {"openai_chat": CHAT, "openai_responses": RESPONSES, "anthropic_messages": MESSAGES}
CASES = [(api, marker) for api, markers in SIMULATED.items() for marker in markers]
PATHS = {"openai_chat": "chat/completions", "openai_responses": "responses", "anthropic_messages": "messages"}


def recorded(api: str, marker: str) -> VendorResponse:
    vendor = "Anthropic" if api == "anthropic_messages" else "OpenAI"
    [found] = [one for one in VENDOR_RESPONSES if one.vendor == vendor and one.name == RECORDED[api][marker]]
    return found


async def asked(api: str, marker: str) -> httpx.Response:
    transport = httpx.ASGITransport(Simulator(seconds=0).app())
    async with httpx.AsyncClient(transport=transport, base_url="http://llm/v1") as client:
        content = {"input": marker} if api == "openai_responses" else {"messages": [{"content": marker}]}
        return await client.post(PATHS[api], json={"model": "m", "max_tokens": 9, **content})


def without_id(body: Any) -> Any:
    return {name: value for name, value in body.items() if name != "request_id"}


@pytest.mark.parametrize(("api", "marker"), CASES)
async def test_a_marker_is_answered_with_the_recorded_response_of_the_vendor(api: str, marker: str) -> None:
    answer, expected = await asked(api, marker), recorded(api, marker)
    assert (answer.status_code, without_id(answer.json())) == (expected.status, without_id(expected.body))


@pytest.mark.parametrize("api", SIMULATED)
async def test_a_rate_limit_has_the_headers_of_its_vendor(api: str) -> None:
    answer, expected = await asked(api, "[[rate-limit]]"), recorded(api, "[[rate-limit]]")
    assert set(expected.headers) <= set(answer.headers)


async def test_an_id_of_the_request_is_where_each_vendor_has_it() -> None:
    of_openai, of_anthropic = await asked("openai_chat", "[[quota]]"), await asked("anthropic_messages", "[[quota]]")
    assert of_openai.headers["x-request-id"]
    assert of_anthropic.headers["request-id"] == of_anthropic.json()["request_id"]


def test_jobs_and_batches_fail_with_the_recorded_errors() -> None:
    assert OPENAI_JOB_ERROR["code"] == OPENAI_JOB_FAILURE["code"]
    assert OPENAI_JOB_ERROR["message"].replace("req_simulated", "req_1") == OPENAI_JOB_FAILURE["message"]
    assert list(OPENAI_BATCH_ERRORS.values()) == list(OPENAI_BATCH_FAILURES.values())
