"""Whatever a client sends: never a 500, a refusal names what is wrong, and then nothing is written."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.entrypoints.conftest import Functions
from tests.entrypoints.test_client_functions import ADMIN, ADMIN_RUN, AS_JSON, JOB, JOBS, RUNS, TRAINER, submitted
from tests.examples import examples

ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(80), deadline=None)
GOOD: dict[str, dict[str, Any]] = {
    ADMIN: {
        **ADMIN_RUN,
        "prior_run_uuid": None,
        "phrase_clients_id": None,
        "style_guide": None,
        "reference_file_ids": [],
        "channel": None,
    },
    RUNS: {"input_text": "hi", "prior_run_uuid": None, "end_client_id": None, "channel": None},
    JOBS: {**JOB, "question_id": None, "channel": None, "deadline_seconds": None},
    "/api/llm/trainer-analysis/": TRAINER,
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "\0", "x" * 2000]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
HEADERS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
WORDS = st.text(max_size=30) | st.integers().map(str) | st.sampled_from(["", "null", "1e9", "0x1", "pending,failed"])


@ANY
@given(place=st.sampled_from([(path, name) for path, body in GOOD.items() for name in body]), value=VALUES)
async def test_a_field_with_any_value_is_taken_or_named(
    functions: Functions, place: tuple[str, str], value: Any
) -> None:
    path, name = place
    before = await functions.count("runs"), await functions.count("run_parts"), await functions.count("messages")
    async with functions.client("submit_run") as client:
        content = json.dumps({**GOOD[path], name: value}).encode()
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json", **AS_JSON})
    if answer.status_code in (200, 429):
        return
    assert answer.status_code in (400, 403, 404), answer.text
    refusal = answer.json()
    field = refusal.get("field")
    assert refusal["error"] and (field or "").partition(".")[0] in (*GOOD[path], *JOB["input_data"], "")
    assert field or answer.status_code == 403 or refusal["error"].startswith("the body"), refusal
    assert before == (
        await functions.count("runs"),
        await functions.count("run_parts"),
        await functions.count("messages"),
    )


@ANY
@given(
    path=st.sampled_from([JOBS, ADMIN, RUNS]),
    name=st.sampled_from(["Idempotency-Key", "Prefer", "Accept", "Content-Type", "X-Request-Id", "traceparent"]),
    value=HEADERS,
)
async def test_any_header_of_a_submit_gets_an_answer(functions: Functions, path: str, name: str, value: str) -> None:
    waiting = name == "Prefer" and "wait" in value.lower()
    async with functions.client("submit_run") as client:
        headers = {"Content-Type": "application/json", **AS_JSON, name: "" if waiting else value}
        if name == "Accept" and path != JOBS:
            return  # others would stream until the run is complete
        answer = await client.post(path, content=json.dumps(GOOD[path]).encode(), headers=headers)
    assert answer.status_code in (200, 400, 415, 422, 429), answer.text


@ANY
@given(
    path=st.sampled_from(["/llm_user_runs", "/api/llm/jobs/"]),
    query=st.dictionaries(
        st.sampled_from(["status", "job_type", "question_id", "limit", "offset", "cursor", "what"]), WORDS
    ),
)
async def test_any_query_of_a_list_is_answered_or_its_field_named(
    functions: Functions, path: str, query: dict[str, str]
) -> None:
    function = "submit_run" if path == "/llm_user_runs" else "read_runs"
    async with functions.client(function) as client:
        answer = await client.get(path, params={name: value.encode(errors="replace") for name, value in query.items()})
    assert answer.status_code == 200 or (answer.status_code == 400 and answer.json()["field"] in query), answer.text


@ANY
@given(
    name=st.sampled_from(["If-None-Match", "Last-Event-ID", "Prefer", "Origin", "Cookie", "Accept"]),
    value=HEADERS,
    tail=st.text(max_size=20),
)
async def test_any_path_and_header_of_a_read_gets_an_answer(
    functions: Functions, name: str, value: str, tail: str
) -> None:
    job_id = (await submitted(functions, **{"Idempotency-Key": "one for all"}))["job_id"]
    async with functions.client("read_runs") as client:
        for path in (f"/api/llm/jobs/{job_id}/status/", f"/llm_user_runs/{tail}", f"/api/llm/jobs/{tail}/result/"):
            answer = await client.get(httpx_path(path), headers={name: value})
            assert answer.status_code in (200, 304, 400, 404), answer.text


def httpx_path(path: str) -> str:
    """Percent-encoded, as every client sends it."""
    return "".join(char if char.isalnum() and char.isascii() or char in "/-_" else _escaped(char) for char in path)


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode(errors="replace"))
