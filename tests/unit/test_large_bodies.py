"""Which bodies are refused before Python's parser sees them: those with too many JSON values."""

import json

import pytest

from shared.web.parse import MAX_VALUES, has_too_many_values


@pytest.mark.parametrize("element", ["1", "[]", "{}", '""', '{"a":1}'])
def test_more_values_than_allowed_are_too_many(element: str) -> None:
    def listed(count: int) -> bytes:
        return f"[{','.join([element] * count)}]".encode()

    assert has_too_many_values(listed(MAX_VALUES + 1))
    assert not has_too_many_values(listed(MAX_VALUES // 4))


@pytest.mark.parametrize("text", [",", "[", "{", '\\",', "\n,"])
def test_commas_and_brackets_of_a_text_are_no_values(text: str) -> None:
    body = {"job_type": "general_llm_request", "input_data": {"full_input": text * (MAX_VALUES + 1)}}
    assert not has_too_many_values(json.dumps(body).encode())


@pytest.mark.parametrize("content", [b'"' + b"," * 300_000, b"\\" * 300_000 + b"," * 300_000, b'"\\' * 300_000])
def test_the_search_of_invalid_json_takes_time_that_grows_with_its_length(content: bytes) -> None:
    assert has_too_many_values(content) in (True, False)
