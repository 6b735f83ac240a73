"""Every operation answers as infra/openapi.yaml says, in each of the ways that a request can bring about."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from msgspec import Struct, field

from infra.local.routing import function_for
from shared import wiring
from shared.domain.directory import Profile
from shared.domain.frozen import replace
from shared.domain.progress import BROKEN
from shared.domain.webhook_fields import NewEndpoint
from shared.web import csrf
from tests.entrypoints.conftest import Functions
from tests.entrypoints.test_client_functions import ADMIN_RUN, JOB, TRAINER, UNKNOWN, submitted
from tests.entrypoints.test_waiting import complete
from tests.openapi import Operation, check_response, operations

OPERATION = {operation.name: operation for operation in operations()}
ADMIN = Profile(user_id="admin", organization_id="acme", groups=frozenset({"users", "admins"}))
BY_TROUBLE = {409, 429, 500, 503}
"""Answers that no request alone brings about."""
ENDLESS = {("stream_channel", 200)}
"""tests/e2e looks at it, over a connection that can be hung up."""
BODIES: dict[str, Any] = {
    "submit_admin_run": ADMIN_RUN,
    "submit_user_run": {"input_text": "hello"},
    "submit_job": {**JOB, "question_id": "question-123"},
    "submit_trainer_analysis": TRAINER,
    "submit_run": {"input_text": "hello"},
    "read_runs": {"kind": "user_run"},
    "replay_dead_letter": {"source": "process-run", "message_id": "1"},
    "create_webhook": {"url": "https://receiver.example.com/hooks"},
}
WRONG_QUERY = {"limit": "0", "starting_after": "x", "group_by": "colour", "span": "year"}


class Call(Struct, frozen=True, kw_only=True):
    """A request of one operation."""

    operation: Operation
    run_id: str
    channel: str = "user:demo"
    webhook_id: str = UNKNOWN
    delivery_id: str = UNKNOWN
    user: str | None = "demo"
    body: Any = None
    content: bytes | None = None
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, functions: Functions) -> httpx.Response:
        path = self.operation.path.format(
            run_uuid=self.run_id,
            job_id=self.run_id,
            channel=self.channel,
            webhook_id=self.webhook_id,
            delivery_id=self.delivery_id,
        )
        content = {"content": self.content} if self.content is not None else {"json": self.body}
        async with functions.client(function_for(path), user=self.user) as client:
            return await client.request(
                self.operation.method,
                path,
                params=self.query,
                headers=self.headers,
                **(content if self.operation.body and self.body is not None else {}),
            )


@pytest.fixture
async def runs(functions: Functions) -> AsyncIterator[dict[str, str]]:
    """The ids of a run that is complete and of one that is not."""
    done, pending = [(await submitted(functions))["job_id"] for _ in range(2)]
    await complete(done)
    yield {"done": done, "pending": pending}


async def plain(functions: Functions, operation: Operation, runs: dict[str, str]) -> Call:
    """A request that does what the operation is for."""
    call = Call(operation=operation, run_id=runs["done"], body=BODIES.get(operation.name))
    if operation.content["tags"] == ["webhooks"]:
        return await _of_webhook(call)
    match operation.name:
        case "start_session":
            return replace(call, user=None, body={"id_token": wiring.embedded_tokens().mint("demo")})
        case "end_session" | "get_csrf_token":
            return replace(call, user=None, headers=await session(functions))
        case "replay_dead_letter":
            await keep_letter(runs["done"])
            return replace(call, user="admin")
        case _ if operation.path.startswith(("/api/admin/", "/api/usage/")):
            return replace(call, user="admin")
        case "submit_admin_run":
            return replace(call, headers={"Accept": "application/json"})
    return call


async def keep_letter(run_id: str) -> None:
    await wiring.sqlite().dead_letters.keep(
        message_id="1", source="process-run", reason="undeliverable", data=run_id, attributes={}
    )


async def _of_webhook(call: Call) -> Call:
    """The request of an administrator, about an endpoint that has a delivery."""
    webhooks = wiring.services().webhooks
    endpoint, _ = await webhooks.create(ADMIN, NewEndpoint(url="https://r.example.com/", events=("run.completed",)))
    delivery = await webhooks.test(ADMIN, endpoint.id)
    return replace(call, user="admin", webhook_id=endpoint.id, delivery_id=delivery.id)


async def session(functions: Functions) -> dict[str, str]:
    """The headers of a page of ours in a session."""
    async with functions.client("read_runs") as client:
        await client.post("/api/auth/session/")
        cookie = next(cookie.value for cookie in client.cookies.jar if cookie.name == "__session") or ""
    return {"Cookie": f"__session={cookie}", "X-CSRFToken": csrf.token_of(cookie), "Sec-Fetch-Site": "same-origin"}


async def known(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    etag = (await call.answer(functions)).headers["etag"]
    return replace(call, headers={**call.headers, "If-None-Match": etag})


async def all_told(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    return replace(call, headers={**call.headers, "Last-Event-ID": "99"})


async def wrong(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    if call.operation.name == "redeliver_webhook":
        await wiring.services().webhooks.disable(ADMIN, call.webhook_id)
        delivery = replace(await wiring.services().webhooks.test(ADMIN, call.webhook_id), id="msg_1", run_id="r")
        await wiring.sqlite().webhooks.add(delivery)
        return replace(call, delivery_id="msg_1")
    if call.body is not None:
        return replace(call, body={**call.body, "colour": "red"})
    names = {parameter["name"] for parameter in call.operation.parameters}
    query = {name: value for name, value in WRONG_QUERY.items() if name in names}
    return replace(call, query=query) if query else replace(call, run_id=runs["pending"])


async def unknown_caller(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    return replace(call, user=None, headers={}, body={"id_token": "x.y.z"} if call.body else None)


async def not_allowed(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    without = {name: value for name, value in call.headers.items() if name != "X-CSRFToken"}
    return replace(call, headers=without, user="stranger" if call.user else None)


async def nowhere(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    if call.operation.name == "read_runs":
        return replace(call, body={"job_id": UNKNOWN})
    if call.operation.name == "replay_dead_letter":
        return replace(call, body={"source": "process-run", "message_id": "2"})
    body = {**call.body, "channel": "user:other"} if call.body else None
    return replace(call, run_id=UNKNOWN, webhook_id=UNKNOWN, channel="user:other", body=body)


async def too_large(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    return replace(call, content=b" " * 7_000_000, headers={**call.headers, "Content-Type": "application/json"})


async def no_json(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    return replace(call, content=b"hello", headers={**call.headers, "Content-Type": "text/plain"})


async def key_conflict(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    keyed = replace(call, headers={**call.headers, "Idempotency-Key": "k"})
    assert (await keyed.answer(functions)).status_code == 200
    text = next(name for name in ("text", "input_text", "question_id") if name in call.body)
    return replace(keyed, body={**call.body, text: "another"})


async def as_it_is(call: Call, functions: Functions, runs: dict[str, str]) -> Call:
    return call


Change = Callable[[Call, Functions, dict[str, str]], Awaitable[Call]]
CHANGES: dict[int, Change] = {
    200: as_it_is,
    204: all_told,
    304: known,
    400: wrong,
    401: unknown_caller,
    403: not_allowed,
    404: nowhere,
    413: too_large,
    415: no_json,
    422: key_conflict,
}
CASES = [
    (operation.name, status)
    for operation in operations()
    for status in operation.responses
    if status not in BY_TROUBLE and (operation.name, status) not in ENDLESS
]


@pytest.mark.parametrize(("name", "status"), CASES)
async def test_every_answer_is_as_described(functions: Functions, runs: dict[str, str], name: str, status: int) -> None:
    operation = OPERATION[name]
    call = await CHANGES[status](await plain(functions, operation, runs), functions, runs)
    answer = await call.answer(functions)
    assert answer.status_code == status, answer.text
    check_response(operation, answer)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("submit_admin_run", ADMIN_RUN),
        ("submit_user_run", {"input_text": "hello"}),
        ("submit_job", JOB),
        ("submit_trainer_analysis", TRAINER),
        ("submit_run", TRAINER),
        ("submit_run", ADMIN_RUN),
    ],
)
async def test_a_submit_that_waits_shows_the_whole_run_as_described(functions: Functions, name: str, body: Any) -> None:
    waiting = {"Prefer": "wait=0", "Idempotency-Key": '"k"'}
    call = Call(operation=OPERATION[name], run_id=UNKNOWN, body=body, headers=waiting)
    for replayed in (None, "replayed"):
        answer = await call.answer(functions)
        assert answer.headers["preference-applied"] == "wait=0" and "is_complete" in answer.json()
        assert answer.headers.get("idempotency-status") == replayed
        check_response(call.operation, answer)
        await complete(answer.json()["job_id"])


@pytest.mark.parametrize(
    ("name", "body"), [("submit_admin_run", ADMIN_RUN), ("submit_user_run", {"input_text": "hello"})]
)
async def test_a_submit_that_streams_does_so_as_described(functions: Functions, name: str, body: Any) -> None:
    """Of a run that is complete already, by its key."""
    headers = {"Idempotency-Key": "k", "Prefer": "respond-async"}
    call = Call(operation=OPERATION[name], run_id=UNKNOWN, body=body, headers=headers)
    await complete((await call.answer(functions)).json()["run_uuid"])
    streaming = {"Idempotency-Key": "k", "Accept": "text/event-stream"}
    answer = await replace(call, headers=streaming).answer(functions)
    assert "event: run.completed" in answer.text and answer.headers["idempotency-status"] == "replayed"
    check_response(call.operation, answer)


@pytest.mark.parametrize("kept", ["done", "pending"])
@pytest.mark.parametrize("name", ["get_user_run", "get_job_status", "cancel_job", "list_jobs", "list_user_runs"])
async def test_runs_of_every_family_and_state_are_shown_as_described(
    functions: Functions, runs: dict[str, str], name: str, kept: str
) -> None:
    other = (await submitted(functions, "/llm_user_runs", {"input_text": "hello"}))["run_uuid"]
    if kept == "done":
        await complete(other)
    for run_id in (runs[kept], other):
        call = Call(operation=OPERATION[name], run_id=run_id, headers={"Prefer": "wait=0"})
        answer = await call.answer(functions)
        assert answer.status_code == 200, answer.text
        check_response(call.operation, answer)
    if kept == "done":
        erasing = Call(operation=OPERATION["delete_user_run"], run_id=other)
        for call in (erasing, Call(operation=OPERATION[name], run_id=other)):
            check_response(call.operation, await call.answer(functions))


async def test_a_failed_run_is_shown_as_described(functions: Functions, runs: dict[str, str]) -> None:
    store = wiring.sqlite().store
    run = await store.get(runs["pending"])
    await store.save(run.failed(run.created_at, error=BROKEN))
    for name, status in {"get_user_run": 200, "get_job_status": 200, "get_job_result": 400, "stream_job": 200}.items():
        answer = await Call(operation=OPERATION[name], run_id=run.id).answer(functions)
        assert answer.status_code == status
        check_response(OPERATION[name], answer)


async def test_an_answer_to_a_reached_limit_is_as_described(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits in (
        {"MAX_OPEN_RUNS": "1", "SUBMITS_PER_MINUTE": "0"},
        {"MAX_OPEN_RUNS": "0", "SUBMITS_PER_MINUTE": "1"},
    ):
        for name, value in limits.items():
            monkeypatch.setenv(name, value)
        wiring.close()
        call = Call(operation=OPERATION["submit_user_run"], run_id=UNKNOWN, body={"input_text": "hello"})
        answers = [await call.answer(functions) for _ in range(3)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused, "two minutes at most are touched"
        check_response(call.operation, refused[0])


async def test_answers_with_500_and_503_are_as_described(functions: Functions) -> None:
    call = Call(operation=OPERATION["submit_user_run"], run_id=UNKNOWN, body={"input_text": "hello"})
    await wiring.sqlite().directory.put("users", "lost", {"organization_id": "nowhere", "groups": []})
    astray = await replace(call, user="lost").answer(functions)
    assert (astray.status_code, astray.json()["code"]) == (500, "configuration")
    check_response(call.operation, astray)
    wiring.sqlite().close()
    for operation in operations():
        if operation.name not in ("get_health", "get_healthz", "start_session", "end_session", "get_csrf_token"):
            body = BODIES.get(operation.name)
            answer = await Call(operation=operation, run_id=UNKNOWN, user="admin", body=body).answer(functions)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), operation.name
            check_response(operation, answer)
