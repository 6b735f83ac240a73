"""The three documented flows, from the first request to the result, over real HTTP."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.system import System, until, updates

TEXT = "Hello world, pay invoice 4711 of {amount} by 2026-12-01."
ADMIN_RUN = {"text": TEXT, "source_lang": "en", "target_lang": "de"}
ERRORS = {"[[fail]]": "llm_failed", "[[refuse]]": "llm_refused", "[[garbage]]": "llm_unreadable"}
"""{marker: the code with which its run fails}"""
WAITED_FOR = ("[[rate-limit]]", "[[slow 3]]")


def finished(system: System, job_id: str, *, user: str = "demo") -> Any:
    with system.client(user) as client:

        def status() -> Any:
            body = client.get(f"/api/llm/jobs/{job_id}/status/").json()
            return body if body["is_complete"] else None

        return until(status)


def submit(system: System, path: str, body: Any, *, user: str = "demo") -> str:
    with system.client(user) as client:
        answer = client.post(path, json=body, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])


@pytest.fixture(scope="module")
def _runs_of_markers() -> dict[str, dict[str, str]]:
    """{address of a system: {marker: id of a run}}"""
    return {}


@pytest.fixture(autouse=True)
def runs_of_markers(system: System, _runs_of_markers: dict[str, dict[str, str]]) -> dict[str, str]:
    """Some take half a minute, so all begin with the first test of a system and go on beside the others."""
    if system.url not in _runs_of_markers:
        _runs_of_markers[system.url] = {
            marker: submit(system, "/llm_user_runs", {"input_text": f"hello {marker}"})
            for marker in (*ERRORS, *WAITED_FOR)
        }
    return _runs_of_markers[system.url]


def test_a_streams_its_updates_without_being_asked(system: System) -> None:
    with system.client() as client, client.stream("POST", "/llm_user_runs_admin", json=ADMIN_RUN) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = list(updates(answer))
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["run.queued", "run.started"] and kinds[-1] == "run.completed"
    assert [int(event["id"]) for event in events] == [event["data"]["sequence"] for event in events]
    last = events[-1]["data"]
    assert set(last) == {"sequence", "type", "at", "run_uuid", "status", "detail", "run"}
    assert last["status"] == "completed" and last["run"]["input_text"] == TEXT
    result = last["run"]["result"]
    assert all(kept in result["text"] for kept in ("4711", "{amount}", "2026-12-01", "Rechnung"))
    assert {"source": "invoice", "target": "Rechnung"} in result["term_pairs"]
    assert set(result["memory_flags"][0]) == {"segment", "match", "used"}
    checks = last["run"]["checks"]
    required = [check for check in checks if check.get("source") == "invoice"]
    assert [(check["check"], check["ok"], check["target"]) for check in required] == [("terms", True, "Rechnung")]
    assert all(check["ok"] for check in checks)


def test_b_answers_json_and_is_read_as_one_object(system: System) -> None:
    run_id = submit(system, "/llm_user_runs", {"input_text": "Hello world"})
    finished(system, run_id)
    with system.client() as client:
        run = client.get(f"/llm_user_runs/{run_id}").json()
        listed = client.get("/llm_user_runs?status=completed&limit=100").json()
    assert set(run) == {
        "success",
        "run_uuid",
        "kind",
        "status",
        "is_complete",
        "created_at",
        "started_at",
        "completed_at",
        "processing_time",
        "input_text",
        "source_lang",
        "target_lang",
        "prior_run_uuid",
        "root_run_uuid",
        "organization_id",
        "deployment",
        "channel",
        "result",
        "metrics",
        "attempts",
        "error",
        "checks",
        "repaired",
    }
    assert run["kind"] == "user_run" and run["deployment"] == "europe" and run["channel"] == "user:demo"
    assert set(run["metrics"]) == {
        "checks",
        "queue_seconds",
        "llm_seconds",
        "input_tokens",
        "output_tokens",
        "cost_usd",
    }
    assert run["metrics"]["checks"] >= 1 and run["processing_time"] >= 0.5
    assert run["result"]["text"] == "[de] Hallo Welt"
    assert run_id in [item["run_uuid"] for item in listed["runs"]]


def test_a_chat_model_translates_for_an_organization_and_repairs_what_the_checks_find(system: System) -> None:
    text = "[[bad-translation]] Dear {name}, the invoice of 120 euros is due on 2026-12-01."
    run_id = submit(system, "/llm_user_runs", {"input_text": text}, user="translator")
    finished(system, run_id, user="translator")
    with system.client("translator") as client:
        run = client.get(f"/llm_user_runs/{run_id}").json()
    assert run["repaired"] is True and all(check["ok"] for check in run["checks"])
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["completed", "completed"]
    assert {"source": "invoice", "target": "Rechnung"} in run["result"]["term_pairs"]


def test_b_streams_when_asked(system: System) -> None:
    headers = {"Accept": "text/event-stream"}
    body = {"input_text": "hello"}
    with system.client() as client, client.stream("POST", "/llm_user_runs", json=body, headers=headers) as answer:
        assert [event["event"] for event in updates(answer)][-1] == "run.completed"


def test_another_region_has_another_deployment(system: System) -> None:
    run_id = submit(system, "/llm_user_runs", {"input_text": "hello"}, user="other")
    finished(system, run_id, user="other")
    with system.client("other") as client:
        run = client.get(f"/llm_user_runs/{run_id}").json()
    assert run["deployment"] == "tokyo" and run["result"]["text"] == "[ja] こんにちは"


@pytest.mark.parametrize("model_id", ["demo-model", "demo-chat-model", "demo-responses-model", "demo-messages-model"])
@pytest.mark.parametrize("path", ["/api/llm/jobs/submit/", "/api/llm/trainer-analysis/"])
def test_c_goes_from_submit_to_result(system: System, model_id: str, path: str) -> None:
    texts = {"system_message": "You are a helpful assistant.", "full_input": "Analyze this question..."}
    whole = {"job_type": "trainer_question_analysis", "input_data": texts} if "submit" in path else texts
    job_id = submit(system, path, {**whole, "model_id": model_id, "question_id": "question-123"})
    status = finished(system, job_id)
    with system.client() as client:
        result = client.get(f"/api/llm/jobs/{job_id}/result/").json()
    assert set(status) == {
        "success",
        "job_id",
        "job_type",
        "status",
        "is_complete",
        "created_at",
        "started_at",
        "completed_at",
        "processing_time",
        "result_data",
        "model",
        "metrics",
        "attempts",
    }
    assert set(result) == {
        "success",
        "job_id",
        "job_type",
        "status",
        "result_data",
        "processing_time",
        "model",
        "question_id",
    }
    assert result["result_data"]["success"] is True and result["result_data"]["result"]
    assert result["question_id"] == "question-123" and isinstance(result["processing_time"], float)


@pytest.mark.parametrize("model_id", ["demo-responses-model", "demo-messages-model"])
def test_a_job_of_the_batch_service_goes_through_the_batch_api(system: System, model_id: str) -> None:
    body = {"job_type": "general_llm_request", "model_id": model_id, "input_data": {"full_input": "What now?"}}
    job_id = submit(system, "/api/llm/jobs/submit/", {**body, "service": "batch"})
    status = finished(system, job_id)
    assert status["service"] == "batch" and status["result_data"]["success"] is True
    [attempt] = status["attempts"]
    assert attempt["provider_job_id"].startswith(("batch_", "msgbatch_"))


def test_a_model_without_a_batch_service_refuses_it(system: System) -> None:
    body = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": "What now?"}}
    with system.client() as client:
        refused = client.post("/api/llm/jobs/submit/", json={**body, "service": "batch"})
    assert refused.status_code == 400 and refused.json()["field"] == "service"


def test_a_stream_resumes_without_a_gap_or_a_repeat(system: System) -> None:
    run_id = submit(system, "/llm_user_runs", {"input_text": "hello"})
    finished(system, run_id)
    with system.client() as client:
        whole = list(updates(client.get(f"/llm_user_runs/{run_id}/stream")))
        rest = list(updates(client.get(f"/llm_user_runs/{run_id}/stream?starting_after=1")))
        browser = list(updates(client.get(f"/api/llm/jobs/{run_id}/stream/", headers={"Last-Event-ID": "2"})))
    assert [event["id"] for event in rest] == [event["id"] for event in whole][1:]
    assert [event["id"] for event in browser] == [event["id"] for event in whole][2:]


@pytest.mark.parametrize(("marker", "code"), ERRORS.items())
def test_an_error_of_the_llm_fails_the_run_with_its_code(
    system: System, runs_of_markers: dict[str, str], marker: str, code: str
) -> None:
    run_id = runs_of_markers[marker]
    status = finished(system, run_id)
    with system.client() as client:
        run = client.get(f"/llm_user_runs/{run_id}").json()
        result = client.get(f"/api/llm/jobs/{run_id}/result/")
    assert run["error"]["code"] == code and status["error_message"] == run["error"]["message"]
    assert (result.status_code, result.json()["code"]) == (400, "run_failed")
    assert result.json()["error"] == result.json()["error_message"] == run["error"]["message"]


@pytest.mark.parametrize("marker", WAITED_FOR)
def test_a_busy_or_slow_llm_is_waited_for(system: System, runs_of_markers: dict[str, str], marker: str) -> None:
    assert finished(system, runs_of_markers[marker])["status"] == "completed"


def test_a_run_that_never_finishes_fails_at_its_deadline(system: System) -> None:
    body = {"job_type": "general_llm_request", "model_id": "demo-model", "deadline_seconds": 2}
    job_id = submit(system, "/api/llm/jobs/submit/", {**body, "input_data": {"full_input": "[[never]]"}})
    status = finished(system, job_id)
    assert status["status"] == "failed" and "deadline" in status["error_message"]


def test_a_cancelled_run_stays_cancelled(system: System) -> None:
    run_id = submit(system, "/llm_user_runs", {"input_text": "[[slow 2]]"})
    with system.client() as client:
        until(lambda: client.get(f"/llm_user_runs/{run_id}").json()["status"] == "processing")
        assert client.post(f"/api/llm/jobs/{run_id}/cancel/").json()["cancelled"] is True
        time.sleep(2.5)
        assert client.get(f"/llm_user_runs/{run_id}").json()["status"] == "cancelled"


def test_a_re_run_is_linked_to_the_run_before(system: System) -> None:
    first = submit(system, "/llm_user_runs_admin", {**ADMIN_RUN, "target_lang": "fr"})
    second = submit(system, "/llm_user_runs", {"input_text": "Hello", "prior_run_uuid": first})
    finished(system, second)
    with system.client() as client:
        run = client.get(f"/llm_user_runs/{second}").json()
    assert (run["prior_run_uuid"], run["root_run_uuid"], run["result"]["text"]) == (first, first, "[fr] bonjour")


def test_the_log_has_ids_and_never_the_text(system: System) -> None:
    run_id = submit(system, "/llm_user_runs", {"input_text": "canary-text [[fail]]"})
    finished(system, run_id)
    log = system.log()
    assert run_id in log and "canary-text" not in log and system.token() not in log


def test_fifty_streams_of_one_run_all_end(system: System) -> None:
    run_id = submit(system, "/llm_user_runs", {"input_text": "[[slow 2]]"})

    def follow(_: int) -> str:
        with system.client() as client, client.stream("GET", f"/llm_user_runs/{run_id}/stream") as answer:
            return str([event["event"] for event in updates(answer)][-1])

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(follow, range(50))) == {"run.completed"}
