"""What administrators see of their organization, and that nobody sees anything of another one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from infra.local.fixtures import MODELS, ORGANIZATIONS
from shared import wiring
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from tests.entrypoints.conftest import Functions
from tests.openapi import check_response, operations

LETTERS, REPLAY = "/api/admin/dead-letters/", "/api/admin/dead-letters/replay/"
ADMIN_ROUTES = ("/api/admin/overdue/", LETTERS, "/api/admin/breakers/", "/api/admin/limits/")
SECRET = "text of a user"


@pytest.fixture(autouse=True)
async def boss(functions: Functions) -> None:
    """An administrator of the other organization."""
    await wiring.sqlite().directory.put("users", "boss", {"organization_id": "globex", "groups": ["admins", "users"]})


async def ask(functions: Functions, method: str, path: str, *, user: str | None = "admin", **more: Any) -> Any:
    """Returns the body of a success, which must be as infra/openapi.yaml says, or (status, code)."""
    async with functions.client("read_runs", user=user) as client:
        answer = await client.request(method, path, **more)
    if answer.status_code != 200:
        return answer.status_code, answer.json()["code"]
    plain = path.partition("?")[0]
    [operation] = [one for one in operations() if (one.path, one.method) == (plain, method)]
    check_response(operation, answer)
    return answer.json()


async def submitted(functions: Functions, *, user: str = "demo") -> Run:
    async with functions.client("submit_run", user=user) as client:
        accepted = (await client.post("/llm_user_runs", json={"input_text": SECRET})).json()
    return await wiring.sqlite().store.get(accepted["run_uuid"])


async def keep(message_id: str, data: str) -> None:
    letters = wiring.sqlite().dead_letters
    await letters.keep(message_id=message_id, source="process-run", reason="undeliverable", data=data, attributes={})


def naming(run: Run) -> str:
    return json.dumps({"run_id": run.id})


@pytest.mark.parametrize("path", ADMIN_ROUTES)
async def test_administrators_alone_see_what_is_for_them(functions: Functions, path: str) -> None:
    assert (await ask(functions, "GET", path))["success"]
    assert await ask(functions, "GET", path, user="demo") == (403, "forbidden")
    assert await ask(functions, "GET", path, user=None) == (401, "unauthenticated")


async def test_dead_letters_are_those_of_the_organization_and_show_no_content(functions: Functions) -> None:
    own, other = await submitted(functions), await submitted(functions, user="other")
    await keep("1", naming(own))
    await keep("2", naming(other))
    await keep("3", json.dumps({"run_id": str(uuid4())}))
    await keep("4", SECRET)
    shown = await ask(functions, "GET", LETTERS)
    assert [(one["message_id"], one["run_uuid"], one["status"]) for one in shown["dead_letters"]] == [
        ("1", own.id, "pending")
    ]
    assert (shown["unreadable"], shown["is_whole"]) == (2, True)
    assert other.id not in json.dumps(shown) and SECRET not in json.dumps(shown)


async def test_a_replay_sends_an_open_run_again_and_removes_the_letter(functions: Functions) -> None:
    own = await submitted(functions)
    await keep("1", naming(own))
    before, name = await functions.count("messages"), {"source": "process-run", "message_id": "1"}
    assert (await ask(functions, "POST", REPLAY, json=name))["outcome"] == "sent"
    assert await functions.count("messages") == before + 1 and await functions.count("dead_letters") == 0
    assert await ask(functions, "POST", REPLAY, json=name) == (404, "run_not_found")


async def test_a_replay_of_a_run_that_has_ended_removes_the_letter_alone(functions: Functions) -> None:
    own = await submitted(functions)
    await wiring.sqlite().store.save(own.cancelled(datetime.now(UTC)))
    await keep("1", naming(own))
    before = await functions.count("messages")
    done = await ask(functions, "POST", REPLAY, json={"source": "process-run", "message_id": "1"})
    assert done["outcome"] == "ended"
    assert (await functions.count("messages"), await functions.count("dead_letters")) == (before, 0)


async def test_letters_of_others_and_letters_without_a_run_cannot_be_replayed(functions: Functions) -> None:
    await keep("1", naming(await submitted(functions, user="other")))
    await keep("2", SECRET)
    before = await functions.count("messages")
    for message_id in ("1", "2", "3"):
        name = {"source": "process-run", "message_id": message_id}
        assert await ask(functions, "POST", REPLAY, json=name) == (404, "run_not_found")
    assert await ask(functions, "POST", REPLAY, json=name, user="demo") == (403, "forbidden")
    assert await ask(functions, "POST", REPLAY, json={"source": "s"}) == (400, "invalid_request")
    assert await ask(functions, "POST", REPLAY, json={**name, "more": 1}) == (400, "invalid_request")
    assert (await functions.count("messages"), await functions.count("dead_letters")) == (before, 2)


async def test_overdue_runs_are_those_of_the_organization(functions: Functions) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    runs = [await submitted(functions, user=user) for user in ("demo", "other")]
    for run in runs:
        await wiring.sqlite().store.save(run.postponed(long_ago))
    for user, run in (("admin", runs[0]), ("boss", runs[1])):
        shown = await ask(functions, "GET", "/api/admin/overdue/", user=user)
        assert [one["run_uuid"] for one in shown["runs"]] == [run.id]


async def test_breakers_are_those_of_the_deployments_and_models_that_the_organization_may_use(
    functions: Functions,
) -> None:
    shown = await ask(functions, "GET", "/api/admin/breakers/")
    closed = {"state": "closed", "failures": 0, "retry_seconds": 0.0}
    first, *models = shown["breakers"]
    assert first == {"deployment": "europe", "model": None, **closed}
    enabled = {name for name, model in MODELS.items() if model.get("enabled", True)}
    assert {one["model"] for one in models} == enabled and {one["deployment"] for one in models} == {None}
    others = (await ask(functions, "GET", "/api/admin/breakers/", user="boss"))["breakers"]
    assert {one["deployment"] for one in others} == {None}, "the deployment tokyo is not set up here"


async def test_an_open_breaker_shows_until_when_it_holds_calls_back(functions: Functions) -> None:
    run = await submitted(functions)
    for _ in range(6):
        await wiring.services().advance(run.id)
        late = (await wiring.sqlite().store.get(run.id)).postponed(datetime.now(UTC) - timedelta(seconds=1))
        await wiring.sqlite().store.save(late)
    [europe, *_] = (await ask(functions, "GET", "/api/admin/breakers/"))["breakers"]
    assert europe["state"] == "open" and europe["failures"] >= 5 and 0 < europe["retry_seconds"] <= 60


async def test_limits_and_budgets_show_how_full_they_are(functions: Functions) -> None:
    prices, budget = {"job": 0.001}, {"day_usd": 1, "month_usd": 20}
    acme = {**ORGANIZATIONS["acme"], "prices": prices, "budget": budget}
    await wiring.sqlite().directory.put("organizations", "acme", acme)
    runs = [await submitted(functions, user=user) for user in ("demo", "demo", "admin", "other")]
    claimed = runs[0].claimed(datetime.now(UTC), lease=timedelta(minutes=1))
    usage = Usage(cost_usd=0.001)
    await wiring.sqlite().store.save(
        claimed.completed(datetime.now(UTC), result=Result(text="done"), usage=usage, checks=1)
    )
    shown = await ask(functions, "GET", "/api/admin/limits/")
    assert shown["open_runs"] == {"used": 2, "maximum": 1000}
    assert shown["submits_a_minute"]["maximum"] == 60
    assert sum(one["used"] for one in shown["submits_a_minute"]["users"]) <= 3
    assert {one["user_id"] for one in shown["submits_a_minute"]["users"]} <= {"demo", "admin"}
    for period, limit in (("day", 1.0), ("month", 20.0)):
        used = shown[f"budget_of_{period}"]
        assert (used["limit_usd"], used["spent_usd"], used["reserved_usd"]) == (limit, 0.001, 0.006)
        assert used["renews_at"] > shown["submits_a_minute"]["renews_at"]
    others = await ask(functions, "GET", "/api/admin/limits/", user="boss")
    assert others["open_runs"]["used"] == 1 and others["budget_of_day"] is None


async def test_a_caller_learns_who_they_are(functions: Functions) -> None:
    shown = await ask(functions, "GET", "/api/auth/profile/")
    expected = {"user_id": "admin", "organization_id": "acme", "groups": ["admins", "users"]}
    assert shown == {"success": True, **expected}
