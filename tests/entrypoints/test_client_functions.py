"""submit_run and read_runs over HTTP: codes, envelope, shapes, and that a refusal records nothing."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import wiring
from shared.domain.result import Result, Usage
from tests.entrypoints.conftest import Functions
from tests.examples import examples

ADMIN = "/llm_user_runs_admin"
RUNS = "/llm_user_runs"
JOBS = "/api/llm/jobs/submit/"
ADMIN_RUN = {"text": "hello", "source_lang": "en", "target_lang": "de"}
JOB = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": "hi"}}
TRAINER = {"model_id": "demo-model", "question_id": "question-123", "system_message": "s", "full_input": "f"}
AS_JSON = {"Accept": "application/json"}
LARGE = "ü" * 300_000
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def submitted(functions: Functions, path: str = JOBS, body: Any = None, **headers: str) -> Any:
    async with functions.client("submit_run") as client:
        answer = await client.post(path, json=body or JOB, headers={**AS_JSON, **headers})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_job_is_accepted_in_the_documented_words(functions: Functions) -> None:
    body = await submitted(functions)
    job_id = body["job_id"]
    assert body == {
        "success": True,
        "job_id": job_id,
        "status": "pending",
        "message": "Job submitted successfully. Use job_id to poll for results.",
        "urls": {
            "self": f"/api/llm/jobs/{job_id}/status/",
            "stream": f"/api/llm/jobs/{job_id}/stream/",
            "result": f"/api/llm/jobs/{job_id}/result/",
            "cancel": f"/api/llm/jobs/{job_id}/cancel/",
        },
    }


@pytest.mark.parametrize(("path", "body"), [(ADMIN, ADMIN_RUN), (RUNS, {"input_text": "hello"})])
async def test_a_run_is_accepted_as_json_when_that_is_asked_for(functions: Functions, path: str, body: Any) -> None:
    answer = await submitted(functions, path, body)
    assert answer["run_uuid"] == answer["job_id"] and answer["status"] == "pending"
    assert set(answer) == {"success", "run_uuid", "job_id", "status", "created_at", "urls"}
    assert answer["created_at"].endswith("Z") and set(answer["urls"]) == {"self", "result", "stream", "cancel"}


@pytest.mark.parametrize(("path", "body"), [(ADMIN, ADMIN_RUN), (RUNS, {"input_text": "hello"}), (JOBS, JOB)])
async def test_an_accepted_run_says_where_it_is(functions: Functions, path: str, body: Any) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(path, json=body, headers=AS_JSON)
    assert answer.headers["location"] == answer.json()["urls"]["self"]


async def test_a_stream_says_where_its_run_is_before_the_first_event(functions: Functions) -> None:
    async with functions.client("submit_run") as client, asyncio.timeout(60):
        submitting = asyncio.create_task(client.post(ADMIN, json=ADMIN_RUN, headers={"Accept": "text/event-stream"}))
        while not (rows := await functions.rows("SELECT id FROM runs")):
            await asyncio.sleep(0.01)
        [[run_id]] = rows
        async with functions.client("read_runs") as reader:
            await reader.post(f"/api/llm/jobs/{run_id}/cancel/")
        answer = await submitting
    assert answer.headers["content-location"] == f"/llm_user_runs/{run_id}"
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_the_head_of_a_stream_is_its_headers_and_ends(functions: Functions) -> None:
    answer = await submitted(functions)
    open_run, channel = answer["urls"]["stream"], "/channels/user:demo/stream"
    async with functions.client("read_runs") as client, asyncio.timeout(60):
        heads = [await client.head(path) for path in (open_run, channel)]
        await client.post(answer["urls"]["cancel"])
        whole = await client.get(open_run)
    for head in heads:
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "x-request-id": ""} == {**whole.headers, "x-request-id": ""}


async def test_every_url_that_is_given_can_be_followed(functions: Functions) -> None:
    for path, body in ((ADMIN, ADMIN_RUN), (RUNS, {"input_text": "hello"}), (JOBS, JOB)):
        urls = (await submitted(functions, path, body))["urls"]
        async with functions.client("read_runs") as client:
            assert (await client.get(urls["self"])).status_code == 200
            assert (await client.get(urls["result"])).json()["code"] == "run_not_finished"
            cancelled = (await client.post(urls["cancel"])).json()
            assert (cancelled["cancelled"], cancelled["status"]) == (True, "cancelled")
            assert (await client.post(urls["cancel"])).json()["cancelled"] is False
            assert (await client.get(urls["result"])).json()["code"] == "run_cancelled"
            assert "event: run.cancelled" in (await client.get(urls["stream"])).text


async def test_prefer_respond_async_means_json(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(ADMIN, json=ADMIN_RUN, headers={"Prefer": "respond-async"})
    assert answer.headers["content-type"] == "application/json"


async def test_a_pending_job_looks_as_documented(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    async with functions.client("read_runs") as client:
        answer = await client.get(f"/api/llm/jobs/{job_id}/status/")
    body = answer.json()
    documented = {"success", "job_id", "job_type", "status", "is_complete", "created_at", "model"}
    assert set(body) == documented | {"metrics", "attempts", "waiting_for", "next_check_at"}
    assert body["attempts"] == [] and body["waiting_for"] is None
    assert body["model"] == {"id": "demo-model", "name": "Demo model", "provider": "simulator"}
    assert 1 <= int(answer.headers["retry-after"]) <= 120


async def test_a_trainer_analysis_is_a_job_with_a_question(functions: Functions) -> None:
    await submitted(functions, "/api/llm/trainer-analysis/", TRAINER)
    async with functions.client("read_runs") as client:
        body = (await client.get("/api/llm/jobs/?question_id=question-123&job_type=trainer_question_analysis")).json()
        assert body["total"] == 1 and body["jobs"][0]["job_type"] == "trainer_question_analysis"
        assert (await client.get("/api/llm/jobs/?question_id=other")).json()["total"] == 0


@pytest.mark.parametrize("slash", ["", "/"])
async def test_paths_work_with_and_without_their_last_slash(functions: Functions, slash: str) -> None:
    await submitted(functions, JOBS.rstrip("/") + slash)
    await submitted(functions, RUNS + slash, {"input_text": "hello"})
    async with functions.client("read_runs") as client:
        assert (await client.get("/api/llm/jobs" + slash)).json()["total"] == 1
    async with functions.client("submit_run") as client:
        assert (await client.get(RUNS + slash)).json()["total"] == 1


async def test_lists_page_by_cursor_and_by_offset(functions: Functions) -> None:
    ids = [(await submitted(functions))["job_id"] for _ in range(5)]
    async with functions.client("read_runs") as client:
        first = (await client.get("/api/llm/jobs/?limit=2")).json()
        assert (first["total"], first["limit"], first["offset"]) == (5, 2, 0)
        assert first["total_is_at_least"] is False
        await submitted(functions)
        second = (await client.get(f"/api/llm/jobs/?limit=3&cursor={first['next_cursor']}")).json()
        third = (await client.get("/api/llm/jobs/?limit=2&offset=1")).json()
        assert (await client.get("/api/llm/jobs/?limit=5000")).json()["limit"] == 100
    assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert [job["job_id"] for job in third["jobs"]] == ids[::-1][:2]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("limit=-1", "limit"),
        ("limit=٣", "limit"),
        ("offset=1001", "offset"),
        ("offset=-1", "offset"),
        ("status=done", "status"),
        ("job_type=dance", "job_type"),
        ("cursor=rubbish", "cursor"),
        ("cursor=W10", "cursor"),
    ],
)
async def test_a_bad_query_names_its_field(functions: Functions, query: str, field: str) -> None:
    async with functions.client("read_runs") as client:
        answer = await client.get(f"/api/llm/jobs/?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_a_cursor_only_fits_its_own_filters(functions: Functions) -> None:
    for _ in range(3):
        await submitted(functions)
    async with functions.client("read_runs") as client:
        cursor = (await client.get("/api/llm/jobs/?limit=1")).json()["next_cursor"]
        answer = await client.get(f"/api/llm/jobs/?limit=1&status=pending&cursor={cursor}")
    assert (answer.status_code, answer.json()["field"]) == (400, "cursor")
    async with functions.client("read_runs", user="admin") as client:
        assert (await client.get(f"/api/llm/jobs/?limit=1&cursor={cursor}")).status_code == 400


async def test_a_user_sees_no_other_users_runs(functions: Functions) -> None:
    job_id = (await submitted(functions))["job_id"]
    for user in ("other", "admin", "nogroup"):
        async with functions.client("read_runs", user=user) as client:
            for method, path in [
                ("GET", f"/api/llm/jobs/{job_id}/status/"),
                ("GET", f"/api/llm/jobs/{job_id}/result/"),
                ("GET", f"/api/llm/jobs/{job_id}/stream/"),
                ("POST", f"/api/llm/jobs/{job_id}/cancel/"),
                ("GET", f"/llm_user_runs/{job_id}"),
                ("GET", f"/llm_user_runs/{job_id}/stream"),
            ]:
                answer = await client.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found"), (user, path)
            assert (await client.get("/api/llm/jobs/")).json()["total"] == 0


@pytest.mark.parametrize("run_id", [UNKNOWN, "1234", "%00", "..%2f..", "ü" * 50])
async def test_a_run_that_does_not_exist_is_404(functions: Functions, run_id: str) -> None:
    async with functions.client("read_runs") as client:
        assert (await client.get(f"/api/llm/jobs/{run_id}/status/")).status_code == 404


async def test_behind_a_server_that_holds_streams_back_json_names_the_address_of_the_stream(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Firebase Hosting is such a server."""
    monkeypatch.setenv("STREAMS_URL", "https://read-runs.example.com")
    wiring.close()
    async with functions.client("submit_run") as client:
        by_default = await client.post(ADMIN, json=ADMIN_RUN)
        assert by_default.headers["Content-Type"] == "application/json"
        run = by_default.json()
        assert run["urls"]["stream"] == f"https://read-runs.example.com/llm_user_runs/{run['run_uuid']}/stream"
        assert by_default.headers["Location"] == run["urls"]["self"] == f"/llm_user_runs/{run['run_uuid']}"
        waited = await client.post(ADMIN, json=ADMIN_RUN, headers={"Prefer": "wait=0"})
        assert waited.json()["urls"]["stream"].startswith("https://read-runs.example.com/llm_user_runs/")


async def test_the_group_users_is_needed_for_admin_runs_only(functions: Functions) -> None:
    async with functions.client("submit_run", user="nogroup") as client:
        refused = await client.post(ADMIN, json=ADMIN_RUN)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await client.post(RUNS, json={"input_text": "hello"})).status_code == 200


async def test_operators_and_nobody_else_see_the_overdue_list(functions: Functions) -> None:
    async with functions.client("read_runs", user="admin") as client:
        assert (await client.get("/api/admin/overdue/")).json() == {"success": True, "runs": [], "unreadable": []}
    async with functions.client("read_runs") as client:
        assert (await client.get("/api/admin/overdue/")).status_code == 403


async def test_bad_credentials_get_one_answer_and_leave_no_trace(functions: Functions) -> None:
    good = wiring.embedded_tokens().mint("demo")
    head, claims, signature = good.split(".")
    none = "eyJhbGciOiJub25lIn0"
    bodies = set()
    for header in [
        "",
        "Bearer",
        "Bearer canary",
        "Basic canary",
        f"Bearer {none}.{claims}.",
        f"Bearer {head}.{claims}.",
        f"Bearer {head}.{claims}.{signature[::-1]}",
        "Bearer ü",
    ]:
        async with functions.client("read_runs", user=None) as client:
            answer = await client.get(
                "/api/llm/jobs/", headers=[(b"authorization", header.encode())] if header else None
            )
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        bodies.add(json.dumps({**answer.json(), "request_id": ""}))
    assert len(bodies) == 1
    assert "canary" not in functions.log.getvalue() and claims not in functions.log.getvalue()


async def test_a_caller_without_a_profile_gets_no_profile(functions: Functions) -> None:
    async with functions.client("submit_run", user="alice") as client:
        answer = await client.post(RUNS, json={"input_text": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (403, "no_profile")


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"x"', "application/json", 400),
        (b'{"input_text": NaN}', "application/json", 400),
        (b'{"input_text": 1e999}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"input_text": ' + b"[" * 70 + b"]" * 70 + b"}", "application/json", 400),
        (b'{"a": ' + b"9" * 10_000 + b"}", "application/json", 400),
        (b'{"\\ud800": 1, "input_text": "x"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"input_text": "x"}', "text/plain", 415),
        (b'{"input_text": "x"}', "", 415),
        (b'{"input_text": "' + b"x" * 7_000_000 + b'"}', "application/json", 413),
    ],
)
async def test_a_bad_body_gets_one_clear_sentence_and_changes_nothing(
    functions: Functions, content: bytes, content_type: str, status: int
) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(RUNS, content=content, headers={"Content-Type": content_type})
    body = answer.json()
    assert answer.status_code == status
    assert body["success"] is False and body["error"] and body["retryable"] is False
    assert body["request_id"] == answer.headers["x-request-id"]
    assert await functions.count("runs") == 0


async def test_input_data_over_a_mebibyte_is_too_large(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        body = {**JOB, "input_data": {"full_input": "x" * (1024 * 1024)}}
        assert (await client.post(JOBS, json=body)).status_code == 413


async def test_a_field_that_does_not_exist_is_named(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(RUNS, json={"input_text": "hello", "colour": "red"})
    assert (answer.status_code, answer.json()["field"]) == (400, "colour")


async def test_wrong_methods_and_paths(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.put(RUNS, json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
        answer = await client.get("/nothing/here")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_every_answer_names_its_request_and_is_kept_by_no_cache(functions: Functions) -> None:
    async with functions.client("read_runs") as client:
        for path in ("/api/llm/jobs/", "/nothing", "/health"):
            answer = await client.get(path, headers={"X-Request-Id": "trace-7"})
            assert answer.headers["x-request-id"] == "trace-7"
            assert answer.headers["cache-control"] == "private, no-store"
        odd = await client.get("/health", headers={"X-Request-Id": "a b<script>"})
        assert odd.headers["x-request-id"] != "a b<script>"


async def test_an_idempotency_key_replays_quoted_or_bare(functions: Functions) -> None:
    async with functions.client("submit_run") as client:
        first = await client.post(JOBS, json=JOB, headers={"Idempotency-Key": "k-1"})
        again = await client.post(JOBS, json=JOB, headers={"Idempotency-Key": '"k-1"'})
        other = await client.post(JOBS, json={**JOB, "question_id": "q"}, headers={"Idempotency-Key": "k-1"})
        long = await client.post(JOBS, json=JOB, headers={"Idempotency-Key": "k" * 256})
    assert first.json()["job_id"] == again.json()["job_id"]
    assert "idempotency-status" not in first.headers and again.headers["idempotency-status"] == "replayed"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    assert long.status_code == 400
    stored = str(await functions.rows("SELECT * FROM idempotency")) + str(
        await functions.rows("SELECT document FROM runs")
    )
    assert "k-1" not in stored


async def test_no_text_of_the_user_reaches_a_log_line_or_a_message(functions: Functions) -> None:
    canary = "canary-7f3a"
    await submitted(functions, ADMIN, {**ADMIN_RUN, "text": canary, "style_guide": canary, "channel": canary})
    await submitted(functions, JOBS, {**JOB, "input_data": {"full_input": canary}, "question_id": canary})
    async with functions.client("submit_run") as client:
        answer = await client.post(RUNS, json={"input_text": canary * 500, canary: canary})
        refused = await client.post(RUNS, json={"input_text": "x", "prior_run_uuid": canary})
    assert canary not in answer.text and canary not in refused.text
    async with functions.client("read_runs") as client:
        await client.get(f"/llm_user_runs/{canary}")
        await client.get(f"/{canary}?{canary}")
    assert canary not in functions.log.getvalue()
    assert canary not in str(await functions.rows("SELECT * FROM messages"))


async def test_a_store_that_is_gone_is_503_with_retry_after(functions: Functions) -> None:
    wiring.services()
    wiring.sqlite().close()
    async with functions.client("submit_run") as client:
        answer = await client.post(JOBS, json=JOB)
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert int(answer.headers["retry-after"]) >= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60), deadline=None)
@given(
    path=st.sampled_from([ADMIN, RUNS, JOBS, "/api/llm/trainer-analysis/"]),
    content=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*ADMIN_RUN, *JOB, *TRAINER]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
async def test_any_bytes_get_an_answer_below_500(functions: Functions, path: str, content: bytes) -> None:
    async with functions.client("submit_run") as client:
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json", **AS_JSON})
    assert answer.status_code in (200, 400)
    assert answer.json()["success"] is (answer.status_code == 200)


async def complete_with(run_id: str, text: str) -> None:
    store = wiring.sqlite().store
    run = await store.get(run_id)
    await store.save(run.completed(run.created_at, result=Result(text=text), usage=Usage(), checks=1))


async def test_a_list_says_where_a_result_is_that_is_too_large_for_it(functions: Functions) -> None:
    jobs = [(await submitted(functions))["urls"] for _ in range(2)]
    runs = [(await submitted(functions, RUNS, {"input_text": "hello"}))["urls"] for _ in range(2)]
    for urls in (jobs, runs):
        for at, text in zip(urls, ("small", LARGE), strict=True):
            await complete_with(at["result"].split("/")[4], text)
    async with functions.client("read_runs") as client:
        large, small = (await client.get("/api/llm/jobs/")).json()["jobs"]
        assert small["result_data"] == {"success": True, "result": "small"}
        url = large["result_data"].pop("url")
        assert large["result_data"] == {"success": True, "result": None, "too_large_for_lists": True}
        assert (await client.get(url)).json()["result_data"] == {"success": True, "result": LARGE}
        assert (await client.get(jobs[1]["self"])).json()["result_data"] == {"success": True, "result": LARGE}
    async with functions.client("submit_run") as client:
        large, small = (await client.get(RUNS)).json()["runs"]
        assert small["result"] == {"text": "small", "memory_flags": [], "term_pairs": []}
        assert large["result"]["text"] is None and large["result"]["too_large_for_lists"]
    async with functions.client("read_runs") as client:
        assert (await client.get(large["result"]["url"])).json()["result"]["text"] == LARGE


async def test_models_are_listed_without_their_address_and_key(functions: Functions) -> None:
    document = {"name": "M", "provider": "openai", "api": "openai_chat", "upstream_model": "gpt", "enabled": False}
    secret: dict[str, object] = {
        "base_url": "https://internal.example.com/v1",
        "secret": "NAME_OF_THE_KEY",
        "prices": {"input": 1.5},
    }
    secret["fallback"] = ["demo-chat-model", "nowhere"]
    await wiring.sqlite().directory.put("models", "mine", {**document, **secret})
    async with functions.client("read_runs") as client:
        answer = await client.get("/api/llm/models/")
    [mine] = [model for model in answer.json()["models"] if model["id"] == "mine"]
    shown = {"id": "mine", "name": "M", "provider": "openai", "api": "openai_chat", "enabled": False}
    problems = ["nowhere is no model that is available"]
    fallback = {"fallback": ["demo-chat-model"], "fallback_problems": problems}
    assert mine == {**shown, "prices": {"input": 1.5}, **fallback}
    assert "internal.example.com" not in answer.text and "NAME_OF_THE_KEY" not in answer.text


async def test_a_path_without_placeholders_stands_before_one_with_them(functions: Functions) -> None:
    async with functions.client("read_runs", user="admin") as client:
        answer = await client.get("/api/webhooks/secret/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
