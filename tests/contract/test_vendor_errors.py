"""Reads every real error response of every vendor: its code, its wait, its bill and our sentence."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.adapters.llm.vendor_errors import error_of, error_of_failed_job, is_content_filter, read_vendor_error
from shared.adapters.llm.vendor_waits import MAX_WAIT, read_duration, read_wait
from shared.errors import LlmRefused, LlmUnavailable
from tests.contract.vendor_errors import NOW, VENDOR_RESPONSES, VendorResponse

CANARY = "canary-4711"
TRANSIENT = {"llm_rate_limited", "llm_overloaded", "llm_unavailable", "llm_timeout"}


def error(response: VendorResponse, *, is_check: bool = False) -> LlmUnavailable | LlmRefused:
    wait = read_wait(response.status, response.headers, response.body, now=NOW)
    found = error_of(response.status, response.body, is_check=is_check, retry_after=wait)
    assert found is not None
    return found


@pytest.mark.parametrize("response", VENDOR_RESPONSES, ids=str)
def test_each_response_of_a_vendor_has_its_code_and_whether_a_retry_helps(response: VendorResponse) -> None:
    found = error(response)
    assert found.code == response.code
    assert found.retryable is (response.code in TRANSIENT)
    assert urlsplit(response.source).scheme == "https"


@pytest.mark.parametrize("response", [one for one in VENDOR_RESPONSES if one.code in TRANSIENT], ids=str)
def test_each_response_that_passes_has_the_wait_that_the_vendor_asks_for(response: VendorResponse) -> None:
    found = error(response)
    assert isinstance(found, LlmUnavailable)
    assert found.retry_after == (None if response.seconds is None else timedelta(seconds=response.seconds))


@pytest.mark.parametrize("response", VENDOR_RESPONSES, ids=str)
def test_a_refusal_before_the_model_has_begun_is_not_billed(response: VendorResponse) -> None:
    assert error(response).may_be_billed is (response.code == "llm_timeout")


@pytest.mark.parametrize("response", [one for one in VENDOR_RESPONSES if one.says], ids=str)
def test_a_sentence_tells_people_what_to_do(response: VendorResponse) -> None:
    assert response.says is not None and response.says in error(response).message


@pytest.mark.parametrize("response", VENDOR_RESPONSES, ids=str)
def test_no_word_of_a_vendor_is_in_our_sentence(response: VendorResponse) -> None:
    marked = json.loads(json.dumps(response.body).replace(". ", f". {CANARY} "))
    assert CANARY not in error(VendorResponse(**{**fields(response), "body": marked})).message


def fields(response: VendorResponse) -> dict[str, Any]:
    return {name: getattr(response, name) for name in response.__dataclass_fields__}


@pytest.mark.parametrize("response", VENDOR_RESPONSES, ids=str)
def test_no_error_of_a_check_fails_a_run(response: VendorResponse) -> None:
    found = error(response, is_check=True)
    assert isinstance(found, LlmUnavailable)
    assert response.status != 404 or found.code == "llm_job_unknown"


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        [],
        [7],
        {},
        {"error": None},
        {"error": 7},
        {"error": {"code": 7, "message": 7, "details": 7}},
        {"error": {"details": [7, {"violations": 7, "metadata": 7}, {"violations": [7]}]}},
        {"error": {"innererror": 7, "n_prompt_tokens": "many", "n_ctx": 7}},
    ],
)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "llm_refused"),
        (401, "llm_credentials"),
        (402, "llm_quota_exhausted"),
        (404, "llm_model_gone"),
        (408, "llm_timeout"),
        (409, "llm_unavailable"),
        (410, "llm_model_gone"),
        (413, "llm_input_too_long"),
        (429, "llm_rate_limited"),
        (500, "llm_unavailable"),
        (502, "llm_unavailable"),
        (503, "llm_overloaded"),
        (529, "llm_overloaded"),
    ],
)
def test_a_body_without_a_known_error_is_read_by_its_status(body: Any, status: int, code: str) -> None:
    found = error_of(status, body, is_check=False, retry_after=None)
    assert found is not None and found.code == code


def test_a_status_below_400_is_no_error() -> None:
    assert error_of(200, {"error": {"code": "content_filter"}}, is_check=False, retry_after=None) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1s", 1), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("2m59.56s", 179.56), ("1d", 86400)],
)
def test_durations_of_vendors_are_read(text: str, seconds: float) -> None:
    assert read_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "6", "m", "-1s", "1s ago", "1.s", "9" * 40 + "s"])
def test_other_texts_are_no_durations(text: str) -> None:
    assert read_duration(text) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "999999999"}, MAX_WAIT.total_seconds()),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-21T11:59:00Z"}, 0),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:30"}, None),
        ({"anthropic-ratelimit-tokens-reset": "later"}, None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "-1"}, None),
        ({"x-ratelimit-limit-requests": "60"}, None),
    ],
)
def test_a_wait_is_read_from_the_most_exact_header_and_bounded(headers: dict[str, str], seconds: float | None) -> None:
    wait = read_wait(429, headers, {}, now=NOW)
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("code", "error_type", "expected"),
    [
        ("server_error", LlmUnavailable, "llm_job_failed"),
        ("rate_limit_exceeded", LlmUnavailable, "llm_job_failed"),
        ("overloaded", LlmUnavailable, "llm_job_failed"),
        ("context_length_exceeded", LlmRefused, "llm_input_too_long"),
        ("invalid_prompt", LlmRefused, "llm_refused"),
        ("insufficient_quota", LlmRefused, "llm_quota_exhausted"),
        ("internal", LlmRefused, "llm_failed"),
    ],
)
def test_a_failed_job_has_the_same_taxonomy(code: str, error_type: type[Exception], expected: str) -> None:
    found = error_of_failed_job({"error": {"code": code, "message": CANARY}}, retryable=frozenset({"server_error"}))
    assert isinstance(found, error_type) and found.code == expected and CANARY not in found.message


def test_gemini_says_in_the_finish_reason_why_it_filtered() -> None:
    assert is_content_filter("content_filter") and is_content_filter("content_filter: PROHIBITED_CONTENT")
    assert not is_content_filter("stop") and not is_content_filter(None)


def test_a_long_sentence_is_searched_only_at_its_beginning() -> None:
    assert len(read_vendor_error({"error": {"message": "x" * 100_000}}).message) == 2000
