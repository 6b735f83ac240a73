"""What pages of other origins may do: all that is said on the list, to those that are on it."""

import httpx
import pytest
from starlette.middleware.cors import SAFELISTED_HEADERS

from shared import wiring
from shared.domain.frozen import replace
from tests.entrypoints.conftest import Functions

LISTED = "https://app.example.com"
JOBS = "/api/llm/jobs/"
FOREIGN = [
    "https://evil.example",
    "https://app.example.com.evil.example",
    "https://evilapp.example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "https://APP.example.com",
    "null",
    "",
    "*",
]


@pytest.fixture
def shared_with(functions: Functions) -> Functions:
    wiring.use(replace(wiring.settings(), allowed_origins=frozenset({LISTED})))
    return functions


def allowed(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("name", ["submit_run", "read_runs"])
async def test_a_preflight_is_answered_before_anybody_signs_in(shared_with: Functions, name: str) -> None:
    asked = {"Origin": LISTED, "Access-Control-Request-Method": "DELETE"}
    async with shared_with.client(name, user=None) as client:
        answer = await client.options(JOBS, headers=asked)
    assert (answer.status_code, answer.text) == (200, "OK")
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "DELETE" in answer.headers["access-control-allow-methods"].split(", ")
    assert set(answer.headers["access-control-allow-headers"].split(", ")) - SAFELISTED_HEADERS == {
        "Authorization", "Idempotency-Key", "Prefer", "X-CSRFToken", "If-None-Match", "Last-Event-ID",
        "X-Request-Id", "traceparent", "tracestate",
    }  # fmt: skip
    assert "Origin" in answer.headers["vary"].split(", ") and answer.headers["x-request-id"]


async def test_a_listed_page_may_read_answers_and_errors(shared_with: Functions) -> None:
    async with shared_with.client("read_runs") as client:
        for path, status in [(JOBS, 200), ("/nothing", 404), ("/health", 200)]:
            answer = await client.get(path, headers={"Origin": LISTED})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == LISTED
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert {"ETag", "Retry-After", "X-Request-Id"} <= set(
                answer.headers["access-control-expose-headers"].split(", ")
            )
            assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_an_unlisted_origin_gets_no_cors_headers(shared_with: Functions, origin: str) -> None:
    async with shared_with.client("read_runs") as client:
        preflight = await client.options(JOBS, headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
        answer = await client.get(JOBS, headers={"Origin": origin})
    assert (preflight.status_code, answer.status_code) == (400, 200)
    assert allowed(answer) == set() and answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in preflight.headers


async def test_without_a_list_no_page_is_listed(functions: Functions) -> None:
    async with functions.client("read_runs") as client:
        answer = await client.get(JOBS, headers={"Origin": LISTED})
    assert allowed(answer) == set() and answer.headers["vary"] == "Origin"


async def test_options_that_are_no_preflight_stay_a_wrong_method(shared_with: Functions) -> None:
    async with shared_with.client("read_runs") as client:
        for headers in ({}, {"Origin": LISTED}, {"Access-Control-Request-Method": "GET"}):
            answer = await client.options(JOBS, headers=headers)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
