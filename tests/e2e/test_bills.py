"""Every marker on every protocol: how the run ends, what its attempts say, and that they agree with the LLM's ledger.

The simulator's ledger has what a vendor would have charged for. A run never shows fewer billed attempts than that.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.e2e.system import System, free_port, updates

MODELS = {
    "llm_jobs": ("demo-model", "standard"),
    "openai_chat": ("demo-chat-model", "standard"),
    "openai_responses": ("demo-responses-model", "standard"),
    "anthropic_messages": ("demo-messages-model", "standard"),
    "openai_batch": ("demo-responses-model", "batch"),
    "anthropic_batch": ("demo-messages-model", "batch"),
}
SYNCHRONOUS = ("openai_chat", "anthropic_messages")
MARKERS = (
    *("", "[[fail]]", "[[refuse]]", "[[slow 1]]", "[[rate-limit]]", "[[garbage]]", "[[never]]"),
    *("[[quota]]", "[[too-long]]", "[[bad-key]]", "[[model-gone]]", "[[cut-off]]", "[[overloaded]]"),
)
CASES = [(api, marker) for api in MODELS for marker in MARKERS]
OVERLOADED = [
    [("llm_jobs", "[[overloaded]]"), ("openai_chat", "[[overloaded]]"), ("openai_responses", "[[overloaded]]")],
    [("anthropic_messages", "[[overloaded]]"), ("openai_batch", "[[overloaded]]")],
    [("anthropic_batch", "[[overloaded]]")],
]
"""They run one group after the other: five failures of a server in a row would open its circuit breaker."""


@dataclass(frozen=True)
class End:
    """How a run ends: `outcomes` are those of its attempts, `events` its events without those of progress."""

    status: str
    code: str | None
    outcomes: tuple[str, ...]
    billed: int
    events: tuple[str, ...]


def ends(status: str, code: str | None, *outcomes: str, billed: int) -> End:
    """Each attempt but the last is followed by a retry."""
    retries = ("run.retrying",) * (len(outcomes) - 1)
    return End(status, code, outcomes, billed, ("run.queued", "run.started", *retries, f"run.{status}"))


COMPLETED = ends("completed", None, "completed", billed=1)
REFUSED_UNREAD = ends("failed", "llm_refused", "refused", billed=0)
REFUSED_AFTER_READING = ends("failed", "llm_refused", "refused", billed=1)
FAILED = ends("failed", "llm_failed", "job_failed", billed=1)
LIMITED_TWICE = ends("completed", None, "rate_limited", "rate_limited", "completed", billed=1)
OVERLOADED_ONCE = ends("completed", None, "unavailable", "completed", billed=1)
UNREADABLE_THREE_TIMES = ends("failed", "llm_unreadable", *["unavailable"] * 3, billed=3)
EXPECTED: dict[tuple[str, str], End] = {
    **{(api, marker): COMPLETED for api in MODELS for marker in ("", "[[slow 1]]", "[[cut-off]]")},
    **{(api, "[[rate-limit]]"): LIMITED_TWICE for api in MODELS},
    **{(api, "[[fail]]"): FAILED for api in ("llm_jobs", "openai_batch", "anthropic_batch")},
    **{(api, "[[fail]]"): REFUSED_UNREAD for api in SYNCHRONOUS},
    ("openai_responses", "[[fail]]"): ends("failed", "llm_job_failed", *["job_failed"] * 3, billed=3),
    **{(api, "[[refuse]]"): REFUSED_UNREAD for api in ("llm_jobs", "openai_chat")},
    **{
        (api, "[[refuse]]"): REFUSED_AFTER_READING
        for api in ("anthropic_messages", "openai_responses", "openai_batch", "anthropic_batch")
    },
    **{(api, "[[garbage]]"): UNREADABLE_THREE_TIMES for api in SYNCHRONOUS},
    **{(api, "[[overloaded]]"): OVERLOADED_ONCE for api in MODELS},
    **{(api, "[[quota]]"): ends("failed", "llm_quota_exhausted", "refused", billed=0) for api in MODELS},
    **{(api, "[[bad-key]]"): ends("failed", "llm_credentials", "refused", billed=0) for api in MODELS},
    **{
        (api, marker): ends("failed", code, "refused", billed=int(api in ("openai_batch", "anthropic_batch")))
        for api in MODELS
        for marker, code in (("[[too-long]]", "llm_input_too_long"), ("[[model-gone]]", "llm_model_gone"))
    },
}
NUMBERS = {"llm_jobs": "4,294 tokens, at most 4,097", "openai_chat": "4,294 tokens, at most 4,097"}
NUMBERS |= dict.fromkeys(("anthropic_messages", "anthropic_batch"), "208,310 tokens, at most 200,000")
"""{protocol: what its vendor tells of the lengths}; OpenAI's responses tell nothing."""


@dataclass(frozen=True)
class Seen:
    run: dict[str, Any]
    events: list[dict[str, Any]]
    charges: list[dict[str, Any]]

    @property
    def code(self) -> str | None:
        code: str | None = self.events[-1]["detail"].get("code")
        return code

    @property
    def billed(self) -> list[dict[str, Any]]:
        return [attempt for attempt in self.run["attempts"] if attempt["may_be_billed"]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Seen]:
    """All runs at once, those of OVERLOADED on a system of their own: most of their time is spent waiting."""
    others = [case for case in CASES if not any(case in group for group in OVERLOADED)]
    folders = [tmp_path_factory.mktemp("bills") / "data" for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(run_all, folders, ([others], OVERLOADED))
    return first | second


def run_all(data_dir: Path, groups: list[list[tuple[str, str]]]) -> dict[tuple[str, str], Seen]:
    """Runs the cases of one group after the other, and returns what came of each case."""
    port = free_port()
    system = System(data_dir, LLM_SIM_PORT=str(port), LLM_SIM_SECONDS="0.2", LLM_CALL_SECONDS="2")
    with system.client() as client:
        traces = {case: uuid4().hex for group in groups for case in group}
        ids, runs = {}, {}
        for group in groups:
            ids.update({case: submitted(client, *case, trace=traces[case]) for case in group})
            runs.update({case: finished(client, ids[case]) for case in group})
        ledger = httpx.get(f"http://127.0.0.1:{port}/ledger", trust_env=False).json()["charges"]
        seen = {
            case: Seen(
                runs[case],
                history(client, ids[case]),
                [charge for charge in ledger if ids[case] == charge["run_id"] or trace == charge["trace_id"]],
            )
            for case, trace in traces.items()
        }
    assert system.stop() == 0
    return seen


def submitted(client: httpx.Client, api: str, marker: str, *, trace: str) -> str:
    model_id, service = MODELS[api]
    job = {
        "job_type": "general_llm_request",
        "model_id": model_id,
        "service": service,
        "deadline_seconds": 8 if marker == "[[never]]" else 60,
        "input_data": {"full_input": f"hello {api} {marker}"},
    }
    traced = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = client.post("/api/llm/jobs/submit/", json=job, headers=traced)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


def finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = client.get(f"/api/llm/jobs/{job_id}/status/", headers={"Prefer": "wait=20"})
        if answer.json()["is_complete"]:
            return dict(answer.json())
    raise AssertionError("it does not end")


def history(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/api/llm/jobs/{job_id}/stream/") as stream:
        return [update["data"] for update in updates(stream)]


@pytest.mark.parametrize(("api", "marker"), EXPECTED)
def test_each_marker_ends_a_run_of_each_protocol_as_it_should(
    seen: dict[tuple[str, str], Seen], api: str, marker: str
) -> None:
    case = seen[api, marker]
    assert EXPECTED[api, marker] == End(
        case.run["status"],
        case.code,
        tuple(attempt["outcome"] for attempt in case.run["attempts"]),
        len(case.billed),
        tuple(event["type"] for event in case.events if event["type"] != "run.progress"),
    )


@pytest.mark.parametrize("api", MODELS)
def test_an_answer_that_never_comes_ends_at_the_deadline_and_counts_as_billed(
    seen: dict[tuple[str, str], Seen], api: str
) -> None:
    case = seen[api, "[[never]]"]
    assert (case.run["status"], case.code) == ("failed", "deadline_exceeded")
    outcomes = [attempt["outcome"] for attempt in case.run["attempts"]]
    assert set(outcomes) <= {"timeout", "cancelled"} and (api in SYNCHRONOUS or outcomes == ["cancelled"])


@pytest.mark.parametrize("api", [api for api in MODELS if api not in SYNCHRONOUS])
def test_a_job_whose_state_nobody_can_read_is_asked_about_again_and_billed_once(
    seen: dict[tuple[str, str], Seen], api: str
) -> None:
    case = seen[api, "[[garbage]]"]
    assert (case.run["status"], case.code, len(case.billed)) == ("failed", "llm_unreadable", 1)


@pytest.mark.parametrize(("api", "marker"), CASES)
def test_the_attempts_of_a_run_agree_with_what_its_llm_has_charged_for(
    seen: dict[tuple[str, str], Seen], api: str, marker: str
) -> None:
    case = seen[api, marker]
    assert [charge["protocol"] for charge in case.charges] == [api] * len(case.charges)
    assert len(case.billed) == len(case.charges), json.dumps(case.run["attempts"])
    if case.run["status"] == "completed" and api != "llm_jobs":
        assert case.billed[0]["cost_usd"] == pytest.approx(case.charges[0]["cost_usd"])


@pytest.mark.parametrize(("api", "numbers"), NUMBERS.items())
def test_a_text_that_is_too_long_fails_with_the_numbers_of_the_vendor(
    seen: dict[tuple[str, str], Seen], api: str, numbers: str
) -> None:
    assert numbers in seen[api, "[[too-long]]"].run["error_message"]


@pytest.mark.parametrize("api", MODELS)
def test_an_answer_that_reached_its_token_limit_says_so(seen: dict[tuple[str, str], Seen], api: str) -> None:
    for marker in ("", "[[cut-off]]"):
        is_cut_off = marker != "" and api != "llm_jobs"
        assert seen[api, marker].run["result_data"].get("cut_off", False) is is_cut_off


def test_the_ledger_adds_up(seen: dict[tuple[str, str], Seen]) -> None:
    charges = [charge for case in seen.values() for charge in case.charges]
    assert len(charges) > len(CASES) / 2
    assert {charge["protocol"] for charge in charges} == set(MODELS)
