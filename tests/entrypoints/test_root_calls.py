"""submit_run and read_runs at their roots, where gcloud posts to: the fields tell what is meant; the answer is JSON."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.routing import function_for
from tests.entrypoints.conftest import Functions
from tests.entrypoints.test_client_functions import ADMIN_RUN, JOB, TRAINER, UNKNOWN
from tests.examples import examples

USER_RUN = {"input_text": "hello"}
AS_GCLOUD = {"Content-Type": "application/json", "Accept": "*/*"}
ROOTS = ["/", "/submit_run", "/submit_run/"]


async def posted(
    functions: Functions, name: str, body: Any, *, user: str | None = "demo", path: str = "/", **headers: str
) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    async with functions.client(name, user=user) as client:
        return await client.post(path, content=content, headers={**AS_GCLOUD, **headers})


async def submitted(functions: Functions, body: Any) -> str:
    answer = await posted(functions, "submit_run", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


async def got(functions: Functions, path: str, name: str = "read_runs") -> Any:
    async with functions.client(name) as client:
        return (await client.get(path)).json()


def without_request_id(answer: Any) -> tuple[int, Any]:
    return answer.status_code, {**answer.json(), "request_id": None}


@pytest.mark.parametrize("path", ROOTS)
@pytest.mark.parametrize(
    ("body", "kind"), [(ADMIN_RUN, "admin_run"), (USER_RUN, "user_run"), (JOB, "job"), (TRAINER, "job")]
)
async def test_the_fields_tell_the_families_apart(functions: Functions, path: str, body: Any, kind: str) -> None:
    async with asyncio.timeout(60):
        answer = await posted(functions, "submit_run", body, path=path, Accept="text/event-stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    run = await got(functions, f"/llm_user_runs/{answer.json()['job_id']}")
    assert (run["kind"], run["status"]) == (kind, "pending")


async def test_a_trainer_analysis_without_its_route_is_one_all_the_same(functions: Functions) -> None:
    job_id = await submitted(functions, TRAINER)
    assert (await got(functions, f"/api/llm/jobs/{job_id}/status/"))["job_type"] == "trainer_question_analysis"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model_id": "demo-model", "question_id": "q", "channel": "c"},
        {"text": None},
        {"text": "hello", "input_text": "hello"},
        {**JOB, "full_input": "hi"},
        {**ADMIN_RUN, **JOB},
    ],
)
async def test_fields_of_no_family_or_of_two_are_refused_with_what_to_give(functions: Functions, body: Any) -> None:
    answer = await posted(functions, "submit_run", body)
    said = answer.json()["error"]
    assert answer.status_code == 400
    assert all(name in said for name in ("text", "input_text", "job_type", "full_input"))
    assert await functions.count("runs") == 0


async def test_a_family_refuses_the_fields_of_another_by_name(functions: Functions) -> None:
    answer = await posted(functions, "submit_run", {**USER_RUN, "source_lang": "en"})
    assert (answer.status_code, answer.json()["field"]) == (400, "source_lang")


async def test_admin_runs_need_their_group_at_the_root_too(functions: Functions) -> None:
    refused = await posted(functions, "submit_run", ADMIN_RUN, user="nogroup")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert await functions.count("runs") == 0
    assert (await posted(functions, "submit_run", USER_RUN, user="nogroup")).status_code == 200


@pytest.mark.parametrize("name", ["submit_run", "read_runs"])
async def test_a_request_without_credentials_is_refused_whatever_its_body(functions: Functions, name: str) -> None:
    for body in (None, {}, USER_RUN, {"job_id": UNKNOWN}):
        assert (await posted(functions, name, body, user=None)).status_code == 401


async def test_a_key_repeats_a_submission_at_the_root(functions: Functions) -> None:
    answers = [await posted(functions, "submit_run", JOB, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json()["job_id"] == answers[1].json()["job_id"]
    assert answers[1].headers["idempotency-status"] == "replayed"


@pytest.mark.parametrize("path", ["/", "/read_runs", "/read_runs/"])
async def test_a_root_call_shows_a_run_as_its_own_address_does(functions: Functions, path: str) -> None:
    run_id, job_id = await submitted(functions, ADMIN_RUN), await submitted(functions, JOB)
    run = await posted(functions, "read_runs", {"run_uuid": run_id, "job_id": None}, path=path)
    assert (run.status_code, run.json()) == (200, await got(functions, f"/llm_user_runs/{run_id}"))
    job = await posted(functions, "read_runs", {"job_id": job_id.upper(), "limit": None}, path=path)
    assert (job.status_code, job.json()) == (200, await got(functions, f"/api/llm/jobs/{job_id}/status/"))


@pytest.mark.parametrize("field", ["run_uuid", "job_id"])
async def test_a_run_that_does_not_exist_or_is_another_users_is_404(functions: Functions, field: str) -> None:
    job_id = await submitted(functions, JOB)
    for user, run_id in (("demo", UNKNOWN), ("demo", "4711"), ("other", job_id)):
        answer = await posted(functions, "read_runs", {field: run_id}, user=user)
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


async def test_lists_answer_as_their_addresses_do(functions: Functions) -> None:
    for body in (ADMIN_RUN, USER_RUN, JOB, JOB, TRAINER):
        await submitted(functions, body)
    jobs = "/api/llm/jobs/"
    questions: list[tuple[Any, str]] = [
        (None, jobs),
        ({}, jobs),
        ({"kind": "job", "status": None}, jobs),
        ({"status": "pending", "limit": 2, "offset": 1}, f"{jobs}?status=pending&limit=2&offset=1"),
        ({"limit": 2.0}, f"{jobs}?limit=2"),
        ({"limit": 5000}, f"{jobs}?limit=5000"),
        ({"job_type": "trainer_question_analysis", "question_id": "question-123"}, f"{jobs}?question_id=question-123"),
        ({"status": "failed"}, f"{jobs}?status=failed"),
    ]
    for question, path in questions:
        answer, expected = await posted(functions, "read_runs", question), await got(functions, path)
        assert [job["job_id"] for job in answer.json()["jobs"]] == [job["job_id"] for job in expected["jobs"]]
        assert {**answer.json(), "next_cursor": None} == {**expected, "next_cursor": None}
    runs = await posted(functions, "read_runs", {"kind": "user_run", "limit": 1})
    assert runs.json() == await got(functions, "/llm_user_runs?limit=1", "submit_run")
    assert runs.json()["total"] == 2


@pytest.mark.parametrize("body", [None, {}, {"kind": "user_run"}, {"limit": 3}])
async def test_a_query_string_at_a_root_is_ignored_whatever_the_body(functions: Functions, body: Any) -> None:
    for sent in (USER_RUN, USER_RUN, JOB, JOB):
        await submitted(functions, sent)
    plain = await posted(functions, "read_runs", body)
    answer = await posted(functions, "read_runs", body, path="/?limit=1&status=failed&colour=red")
    assert answer.json() == plain.json()
    assert plain.json()["total"] == 2


async def test_a_list_goes_on_where_its_cursor_says(functions: Functions) -> None:
    ids = [await submitted(functions, JOB) for _ in range(3)]
    first = (await posted(functions, "read_runs", {"limit": 2})).json()
    second = (await posted(functions, "read_runs", {"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]


@pytest.mark.parametrize(
    ("value", "query"),
    [
        ({"limit": 0}, "limit=0"),
        ({"limit": "ten"}, "limit=ten"),
        ({"limit": False}, "limit=ten"),
        ({"limit": 2.5}, "limit=ten"),
        ({"limit": [1]}, "limit=ten"),
        ({"limit": "2"}, "limit=ten"),
        ({"offset": {}}, "offset=ten"),
        ({"offset": "000"}, "offset=ten"),
        ({"offset": ""}, "offset=ten"),
        ({"offset": 1001}, "offset=1001"),
        ({"status": "done"}, "status=done"),
        ({"job_type": "dance"}, "job_type=dance"),
        ({"cursor": "rubbish"}, "cursor=rubbish"),
    ],
)
async def test_a_wrong_filter_gets_the_sentence_that_a_query_gets(
    functions: Functions, value: dict[str, Any], query: str
) -> None:
    answer = await posted(functions, "read_runs", value)
    async with functions.client("read_runs") as client:
        expected = await client.get(f"/api/llm/jobs/?{query}")
    assert answer.status_code == 400
    assert without_request_id(answer) == without_request_id(expected)


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({"colour": "red"}, "colour", "there is no field named colour"),
        ({"job_id": UNKNOWN, "colour": "red"}, "colour", "there is no field named colour"),
        ({"job_id": UNKNOWN, "run_uuid": UNKNOWN}, "job_id", "give either run_uuid or job_id, not both"),
        ({"job_id": UNKNOWN, "limit": 1}, "limit", "limit is for lists and does not go with job_id"),
        ({"run_uuid": UNKNOWN, "kind": "job"}, "kind", "kind is for lists and does not go with run_uuid"),
        ({"job_id": 7}, "job_id", "job_id must be a string"),
        ({"run_uuid": ""}, "run_uuid", "run_uuid is empty"),
        ({"kind": "admin_run"}, "kind", "kind must be one of job, user_run"),
        ({"kind": 1}, "kind", "kind must be a string"),
        ({"kind": "user_run", "job_type": "review_colab"}, "job_type", "does not go with kind user_run"),
        ({"question_id": 7}, "question_id", "question_id must be a string"),
        ({"status": 1}, "status", "status must be a string"),
        ({"status": ["pending"]}, "status", "status must be a string"),
        ({"job_type": True}, "job_type", "job_type must be a string"),
        ({"cursor": 7}, "cursor", "cursor must be a string"),
        ({"cursor": ["W10"]}, "cursor", "cursor must be a string"),
        ({"limit": "10"}, "limit", "limit must be a whole number of 1 or more"),
        ({"question_id": "\ud800"}, "question_id", "question_id holds an unpaired surrogate"),
    ],
)
async def test_a_refused_question_names_its_field(functions: Functions, body: Any, field: str, sentence: str) -> None:
    answer = await posted(functions, "read_runs", body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize("name", ["submit_run", "read_runs"])
async def test_other_methods_at_a_root_get_405_that_allows_post(functions: Functions, name: str) -> None:
    async with functions.client(name) as client:
        for path in ("/", f"/{name}"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_the_local_hosts_route_to_both_roots() -> None:
    paths = ["/submit_run", "/submit_run/", "/read_runs", "/read_runs/", "/"]
    assert [function_for(path) for path in paths] == ["submit_run", "submit_run", "read_runs", "read_runs", "read_runs"]


NAMES = st.sampled_from(
    [*ADMIN_RUN, *JOB, *TRAINER, "input_text", "run_uuid", "job_id", "kind", "status", "limit", "offset", "cursor"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([UNKNOWN, "user_run", "pending", "demo-model", "review_colab", "en", "W10"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(120), deadline=None)
@given(name=st.sampled_from(["submit_run", "read_runs"]), body=st.dictionaries(NAMES | st.text(), VALUES, max_size=5))
async def test_any_object_at_a_root_gets_an_answer_below_500(
    functions: Functions, name: str, body: dict[str, Any]
) -> None:
    answer = await posted(functions, name, body)
    assert answer.status_code in (200, 400, 404), answer.text
    assert answer.json()["success"] is (answer.status_code == 200)
