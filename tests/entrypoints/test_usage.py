"""Usage and budgets as clients see them."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from infra.local.fixtures import MODELS, ORGANIZATIONS, USERS
from shared import wiring
from shared.domain.result import Result, Usage
from tests.entrypoints.conftest import Functions

JOB = {"job_type": "general_llm_request", "model_id": "priced", "input_data": {"full_input": "hello"}}
ESTIMATE = (5 + 200) * 1e-6 + 1000 * 2e-6
"""What an attempt of JOB may cost: at most five bytes, what frames them, and 1,000 tokens of output."""
NOTHING = {"runs": 0, "failed": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}


@pytest.fixture(autouse=True)
async def priced_model(functions: Functions) -> None:
    prices = [{"input": 9, "output": 9}, {"from": "2026-01-01", "input": 1, "output": 2}]
    model = {**MODELS["demo-model"], "prices": prices, "max_output_tokens": 1000, "max_attempts": 1}
    await wiring.sqlite().directory.put("models", "priced", model)


async def set_budget(**budget: float) -> None:
    acme = {**ORGANIZATIONS["acme"], "budget": budget}
    await wiring.sqlite().directory.put("organizations", "acme", acme)


async def submit(functions: Functions, *, user: str = "demo", **headers: str) -> httpx.Response:
    async with functions.client("submit_run", user=user) as client:
        return await client.post("/api/llm/jobs/submit/", json=JOB, headers=headers)


async def get(functions: Functions, path: str, *, user: str = "admin") -> Any:
    async with functions.client("read_runs", user=user) as client:
        answer = await client.get(path)
        return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json().get("field"))


async def complete(run_id: str) -> None:
    store = wiring.sqlite().store
    claimed = (await store.get(run_id)).claimed(datetime.now(UTC), lease=timedelta(minutes=1))
    usage = Usage(input_tokens=100, output_tokens=50, cached_tokens=40, reasoning_tokens=20, cost_usd=0.0002)
    await store.save(claimed.completed(datetime.now(UTC), result=Result(text="done"), usage=usage, checks=1))


async def test_two_hundred_at_once_against_a_budget_for_twenty_are_exactly_twenty(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITS_PER_MINUTE", "0")
    wiring.close()
    await set_budget(day_usd=round(20.5 * ESTIMATE, 9))
    answers = await asyncio.gather(*[submit(functions) for _ in range(200)])
    assert Counter(answer.status_code for answer in answers) == {200: 20, 429: 180}
    assert await functions.count("runs") == 20 and await functions.count("messages") == 20
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "budget_exhausted" and refused.json()["retryable"] is True
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    until_midnight = (tomorrow - datetime.now(UTC)).total_seconds()
    assert int(refused.headers["retry-after"]) == pytest.approx(until_midnight, abs=30)
    assert f"renews on {tomorrow:%Y-%m-%d} at 00:00 UTC" in refused.json()["error"]


async def test_the_log_names_the_organization_whose_budget_is_exhausted(functions: Functions) -> None:
    await set_budget(month_usd=0.0001)
    assert (await submit(functions)).status_code == 429
    [line] = [line for line in map(json.loads, functions.log.getvalue().splitlines()) if "budget" in line["message"]]
    assert (line["message"], line["organization_id"], line["severity"]) == ("budget exhausted", "acme", "WARNING")
    assert "hello" not in json.dumps(line)


async def test_a_cancelled_run_gives_its_reservation_back_and_a_replay_takes_none(functions: Functions) -> None:
    await set_budget(day_usd=1.5 * ESTIMATE)
    first = await submit(functions, **{"Idempotency-Key": "k"})
    again = await submit(functions, **{"Idempotency-Key": "k"})
    assert again.json()["job_id"] == first.json()["job_id"] and again.headers["idempotency-status"] == "replayed"
    assert (await submit(functions)).status_code == 429
    async with functions.client("read_runs") as client:
        await client.post(first.json()["urls"]["cancel"])
    assert (await submit(functions)).status_code == 200


async def test_runs_without_prices_pass_an_exhausted_budget(functions: Functions) -> None:
    await set_budget(day_usd=0.0)
    assert (await submit(functions)).status_code == 429
    async with functions.client("submit_run") as client:
        assert (await client.post("/llm_user_runs", json={"input_text": "hello"})).status_code == 200


async def test_a_run_for_an_end_client_is_paid_from_the_budget_of_the_organization(functions: Functions) -> None:
    acme = {**ORGANIZATIONS["acme"], "prices": {"job": 0.001, "character": 20}, "budget": {"day_usd": 0.004}}
    await wiring.sqlite().directory.put("organizations", "acme", acme)
    async with functions.client("submit_run") as client:
        body = {"input_text": "ten chars.", "end_client_id": "acme-client"}
        accepted = await client.post("/llm_user_runs", json=body)
        assert (await client.post("/llm_user_runs", json=body)).json()["code"] == "budget_exhausted"
    run = await wiring.sqlite().store.get(accepted.json()["run_uuid"])
    assert (run.bill.estimate_usd, run.bill.reserved_usd) == (0.0012, 0.0036)


async def test_a_completed_job_shows_its_metrics(functions: Functions) -> None:
    run_id = (await submit(functions)).json()["job_id"]
    before = await get(functions, f"/api/llm/jobs/{run_id}/status/", user="demo")
    assert before["metrics"]["cost_usd"] is None
    await complete(run_id)
    shown = await get(functions, f"/api/llm/jobs/{run_id}/status/", user="demo")
    counts = {name: shown["metrics"][name] for name in shown["metrics"] if not name.endswith("seconds")}
    assert counts == {
        "checks": 1,
        "input_tokens": 100,
        "output_tokens": 50,
        "cached_tokens": 40,
        "reasoning_tokens": 20,
        "cost_usd": 0.0002,
    }
    assert shown["attempts"][-1]["cost_usd"] == 0.0002


async def test_administrators_see_what_their_organization_has_used(functions: Functions) -> None:
    run_ids = [(await submit(functions, user=user)).json()["job_id"] for user in ("demo", "admin")]
    for run_id in run_ids:
        await complete(run_id)
    async with functions.client("read_runs") as client:
        await client.delete(f"/api/llm/jobs/{run_ids[0]}/")
    one = {"runs": 1, "failed": 0, "input_tokens": 100, "output_tokens": 50, "cost_usd": 0.0002}
    both = {"runs": 2, "failed": 0, "input_tokens": 200, "output_tokens": 100, "cost_usd": 0.0004}
    today = datetime.now(UTC).date().isoformat()
    assert await get(functions, "/api/usage/") == {"success": True, "total": both, "items": [{"key": today, **both}]}
    users = await get(functions, f"/api/usage/?from={today}&to={today}&group_by=user")
    assert users["items"] == [{"key": "admin", **one}, {"key": "demo", **one}]
    models = await get(functions, "/api/usage/?group_by=model")
    assert models["items"] == [{"key": "priced", **both}]
    assert (await get(functions, "/api/usage/?group_by=deployment"))["items"] == [{"key": "default", **both}]
    assert (await get(functions, "/api/usage/?to=2026-01-01")) == {"success": True, "total": NOTHING, "items": []}


async def test_nobody_but_administrators_sees_usage_and_those_see_their_own_alone(functions: Functions) -> None:
    await complete((await submit(functions)).json()["job_id"])
    assert (await get(functions, "/api/usage/", user="demo"))[0] == 403
    assert (await get(functions, "/api/usage/?group_by=colour", user="demo"))[0] == 403
    await wiring.sqlite().directory.put("users", "boss", {"organization_id": "globex", "groups": ["admins"]})
    assert (await get(functions, "/api/usage/", user="boss")) == {"success": True, "total": NOTHING, "items": []}
    assert USERS["admin"]["organization_id"] == "acme"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("group_by=colour", "group_by"),
        ("from=yesterday", "from"),
        ("from=2026-02-30", "from"),
        ("from=20260301", "from"),
        ("from=2026-W10-1", "from"),
        ("to=0001-01-01", "to"),
        ("to=2026-03-01T00:00:00Z", "to"),
        ("from=2026-03-02&to=2026-03-01", "from"),
    ],
)
async def test_bad_values_are_refused_by_name(functions: Functions, query: str, field: str) -> None:
    assert await get(functions, f"/api/usage/?{query}") == (400, field)


@pytest.mark.parametrize(
    ("collection", "record_id", "change"),
    [
        ("models", "priced", {"prices": {"input": "cheap"}}),
        ("models", "priced", {"prices": {"input": -1}}),
        ("models", "priced", {"prices": [{"from": "soon", "input": 1}]}),
        ("organizations", "acme", {"budget": {"day_usd": "all"}}),
    ],
)
async def test_prices_and_budgets_that_cannot_be_read_refuse_the_run(
    functions: Functions, collection: str, record_id: str, change: dict[str, Any]
) -> None:
    record = MODELS["demo-model"] if collection == "models" else ORGANIZATIONS["acme"]
    await wiring.sqlite().directory.put(collection, record_id, {**record, **change})
    answer = await submit(functions)
    assert (answer.status_code, answer.json()["code"]) == (500, "configuration")
    assert await functions.count("runs") == 0
    assert (await get(functions, "/api/llm/models/"))["success"]


async def test_the_list_of_models_shows_the_prices_of_today(functions: Functions) -> None:
    models = (await get(functions, "/api/llm/models/"))["models"]
    assert next(model for model in models if model["id"] == "priced")["prices"] == {"input": 1.0, "output": 2.0}
