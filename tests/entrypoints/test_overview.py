"""The overview of runs over time, and the lists that its points lead to."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import wiring
from shared.domain.failure import Failure
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from tests.contract.runs import a_run
from tests.entrypoints.conftest import Functions
from tests.entrypoints.test_operators import SECRET, ask

NOW = datetime.now(UTC)
OVERVIEW, RUNS = "/api/overview/", "/api/overview/runs/"


async def stored(*, hours: float = 0, seconds: float | None = 2.0, code: str | None = None, **changes: Any) -> Run:
    """Stores a run that was accepted so many hours ago; it fails with `code`, or takes so long, or stays open."""
    at, store = NOW - timedelta(hours=hours), wiring.sqlite().store
    await store.create(run := a_run(created_at=at, input={"text": SECRET}, **changes))
    claimed = (await store.get(run.id)).claimed(at, lease=timedelta(hours=1))
    if code is not None:
        return await store.save(claimed.failed(at, error=Failure(code=code, message="m"), may_be_billed=False))
    if seconds is None:
        return await store.save(claimed)
    end, usage = at + timedelta(seconds=seconds), Usage(cost_usd=0.001)
    return await store.save(claimed.completed(end, result=Result(text=SECRET), usage=usage, checks=1))


@pytest.mark.parametrize(("span", "points"), [("day", 24), ("week", 7), ("month", 30)])
async def test_an_overview_counts_failures_durations_and_cost_over_time(
    functions: Functions, span: str, points: int
) -> None:
    for seconds in (1.0, 2.0, 4.0):
        await stored(seconds=seconds, deployment="europe")
    await stored(code="llm_refused", deployment="tokyo")
    await stored(seconds=None)
    shown = await ask(functions, "GET", f"{OVERVIEW}?span={span}", user="demo")
    assert (shown["scope"], shown["span"], shown["is_whole"], len(shown["points"])) == ("own", span, True, points)
    total = shown["total"]
    assert (total["runs"], total["failed"], total["failures"]) == (4, 1, [{"code": "llm_refused", "runs": 1}])
    assert total["cost_usd"] == 0.003
    assert total["p50_seconds"] == pytest.approx(2, rel=0.15) and total["p99_seconds"] == pytest.approx(4, rel=0.15)
    last = {**shown["points"][-1]}
    assert last.pop("from") <= NOW.isoformat() < last.pop("to") and last == total
    assert [(group["id"], group["runs"]) for group in shown["deployments"]] == [("europe", 3), ("tokyo", 1)]
    assert [(group["id"], group["runs"]) for group in shown["models"]] == [(None, 4)]


async def test_points_lie_one_after_another_and_hold_the_runs_of_their_time(functions: Functions) -> None:
    await stored(hours=3)
    await stored(hours=30)
    points = (await ask(functions, "GET", OVERVIEW, user="demo"))["points"]
    assert [point["to"] for point in points[:-1]] == [point["from"] for point in points[1:]]
    assert [point["runs"] for point in points if point["runs"]] == [1]
    week = (await ask(functions, "GET", f"{OVERVIEW}?span=week", user="demo"))["points"]
    assert sum(point["runs"] for point in week) == 2


async def test_members_see_their_own_runs_and_administrators_those_of_the_organization(functions: Functions) -> None:
    await stored(user_id="demo")
    await stored(user_id="colleague", code="llm_refused")
    await stored(user_id="other", tenant_id="globex")
    for path in (OVERVIEW, f"{OVERVIEW}?span=week"):
        joint = "&" if "?" in path else "?"
        assert (await ask(functions, "GET", path, user="demo"))["total"]["runs"] == 1
        assert (await ask(functions, "GET", f"{path}{joint}scope=organization"))["total"]["runs"] == 2
        assert await ask(functions, "GET", f"{path}{joint}scope=organization", user="demo") == (403, "forbidden")
    assert [run["user_id"] for run in (await ask(functions, "GET", RUNS, user="demo"))["runs"]] == ["demo"]
    found = (await ask(functions, "GET", f"{RUNS}?scope=organization"))["runs"]
    assert {(run["user_id"], run["is_own"]) for run in found} == {("demo", False), ("colleague", False)}
    assert await ask(functions, "GET", f"{RUNS}?scope=organization", user="demo") == (403, "forbidden")
    assert await ask(functions, "GET", OVERVIEW, user=None) == (401, "unauthenticated")


async def test_a_list_shows_no_text_and_is_filtered_by_what_a_point_is_made_of(functions: Functions) -> None:
    done, failed = await stored(hours=1, deployment="europe"), await stored(code="llm_refused", deployment="tokyo")
    open_run = await stored(hours=2, seconds=None)
    for query, expected in (
        ("", [failed.id, done.id, open_run.id]),
        ("?status=failed", [failed.id]),
        ("?error=llm_refused", [failed.id]),
        ("?error=llm_failed", []),
        ("?deployment=europe", [done.id]),
        ("?model=m", []),
        (f"?to={(NOW - timedelta(minutes=90)).isoformat().replace('+00:00', 'Z')}", [open_run.id]),
        (f"?from={(NOW - timedelta(minutes=90)).isoformat().replace('+00:00', 'Z')}", [failed.id, done.id]),
    ):
        shown = await ask(functions, "GET", f"{RUNS}{query}", user="demo")
        assert [run["run_uuid"] for run in shown["runs"]] == expected, query
        assert SECRET not in json.dumps(shown) and shown["next_cursor"] is None


async def test_the_pages_of_a_list_show_each_run_once(functions: Functions) -> None:
    runs = {(await stored(hours=number / 10)).id for number in range(7)}
    seen, cursor = list[str](), ""
    while cursor is not None:
        page = await ask(functions, "GET", f"{RUNS}?limit=3&cursor={cursor}", user="demo")
        seen, cursor = seen + [run["run_uuid"] for run in page["runs"]], page["next_cursor"]
    assert len(seen) == 7 and set(seen) == runs


@pytest.mark.parametrize(
    "query",
    ["span=year", "scope=all"],
)
async def test_an_overview_of_something_else_is_refused(functions: Functions, query: str) -> None:
    assert await ask(functions, "GET", f"{OVERVIEW}?{query}") == (400, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-03-14",
        "to=0001-01-01T00:00:00Z",
        "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
        "status=done",
        "limit=0",
        "limit=many",
        "cursor=me",
        "scope=all",
    ],
)
async def test_bad_values_of_a_list_are_refused(functions: Functions, query: str) -> None:
    assert await ask(functions, "GET", f"{RUNS}?{query}") == (400, "invalid_request")
