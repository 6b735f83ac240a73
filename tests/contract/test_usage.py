"""Tests usage and budgets, which the commits that create and end runs keep, so that they hold at any concurrency."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import grpc
import pytest

from shared.domain.bill import Bill
from shared.domain.budget import Budget
from shared.domain.directory import ModelRef
from shared.domain.erasure import erased as without_content
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits
from shared.domain.money import to_nano
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.usage_sums import GroupBy, UsageSum, report
from shared.errors import BudgetExhausted, StaleRun
from tests.contract.runs import NOW, a_run
from tests.google import store_behind_a_proxy
from tests.grpc_proxy import COMMIT, Forward, Refused, Requests

TODAY = NOW.date()
MODEL = ModelRef(id="m", name="M", provider="p")
RESERVING = Bill(estimate_usd=0.01, reserved_usd=0.03)
FOR_TWENTY = Limits(budget=Budget(day=to_nano(0.03) * 20))


def ended(run: Run, ending: str, *, cost: float | None = 0.004) -> Run:
    """Returns the run as it ends after one attempt."""
    claimed = run.claimed(NOW, lease=timedelta(hours=1))
    usage = Usage(input_tokens=7, output_tokens=3, cost_usd=cost)
    return {
        "completed": lambda: claimed.completed(NOW, result=Result(text="done"), usage=usage, checks=1),
        "failed": lambda: claimed.failed(NOW, error=Failure(code="llm_failed", message="m"), may_be_billed=True),
        "refused": lambda: claimed.failed(NOW, error=Failure(code="llm_refused", message="m"), may_be_billed=False),
        "cancelled": lambda: run.cancelled(NOW),
    }[ending]()


async def created(backend: Any, limits: Limits = FOR_TWENTY, **changes: Any) -> Run:
    run = a_run(**{"bill": RESERVING, **changes})
    assert await backend.store.create(run, limits=limits) is None
    stored: Run = await backend.store.get(run.id)
    return stored


async def create_all(backend: Any, runs: Iterable[Run], limits: Limits = FOR_TWENTY) -> list[Any]:
    """Creates the runs concurrently; returns None for each that was accepted and the exception for each other."""
    return await asyncio.gather(*[backend.store.create(run, limits=limits) for run in runs], return_exceptions=True)


async def room(backend: Any, limits: Limits = FOR_TWENTY, amount: float = 0.001) -> float:
    """Returns how much of the budget is left, in steps of `amount`, by reserving all of it."""
    bill, left = Bill(estimate_usd=amount, reserved_usd=amount), 0
    while await backend_takes(backend, a_run(bill=bill), limits):
        left += 1
    return round(left * amount, 9)


async def backend_takes(backend: Any, run: Run, limits: Limits) -> bool:
    try:
        await backend.store.create(run, limits=limits)
    except BudgetExhausted:
        return False
    return True


async def usage(backend: Any, group_by: GroupBy = GroupBy.DAY, tenant_id: str = "acme", **days: date) -> Any:
    """Returns ({key: sum}, the total)."""
    period = {"first": TODAY, "last": TODAY, **days}
    found = report(await backend.usage.sums(tenant_id, **period), group_by)
    return dict(found.items), found.total


# --- sums ---


async def test_each_ended_run_is_counted_under_its_day_model_deployment_and_user(backend: Any) -> None:
    first = await created(backend, model=MODEL, deployment="europe")
    second = await created(backend, model=MODEL, user_id="a/b.c`d")
    third = await created(backend, deployment="tokyo", created_at=NOW + timedelta(days=1))
    for run, ending in ((first, "completed"), (second, "failed"), (third, "cancelled")):
        await backend.store.save(ended(run, ending))
    one, failed = UsageSum(runs=1, input_tokens=7, output_tokens=3, cost=4_000_000), UsageSum(runs=1, failed=1)
    failed, cancelled = replace(failed, cost=10_000_000), UsageSum(runs=1)
    both: Any = {"last": TODAY + timedelta(days=1)}
    assert await usage(backend) == ({"2026-03-01": one + failed}, one + failed)
    total = one + failed + cancelled
    assert await usage(backend, **both) == ({"2026-03-01": one + failed, "2026-03-02": cancelled}, total)
    assert await usage(backend, GroupBy.MODEL, **both) == ({None: cancelled, "m": one + failed}, total)
    deployments = {None: failed, "europe": one, "tokyo": cancelled}
    assert await usage(backend, GroupBy.DEPLOYMENT, **both) == (deployments, total)
    assert await usage(backend, GroupBy.USER, **both) == ({"a/b.c`d": failed, "demo": one + cancelled}, total)


async def test_other_tenants_and_other_days_are_not_in_the_sums(backend: Any) -> None:
    for changes in ({"tenant_id": "globex"}, {"created_at": NOW - timedelta(days=40)}):
        await backend.store.save(ended(await created(backend, **changes), "completed"))
    assert await usage(backend) == ({}, UsageSum())
    assert (await usage(backend, tenant_id="globex"))[1].runs == 1
    assert (await usage(backend, first=TODAY - timedelta(days=40)))[1].runs == 1


async def test_later_saves_of_an_ended_run_do_not_count_it_again(backend: Any) -> None:
    saved = await backend.store.save(ended(await created(backend), "completed"))
    saved = await backend.store.save(saved.postponed(NOW))
    await backend.store.save((await backend.store.get(saved.id)).with_late_result(NOW))
    erased = await backend.store.erase(without_content(await backend.store.get(saved.id), NOW))
    await backend.store.forget(erased)
    assert (await usage(backend))[1] == UsageSum(runs=1, input_tokens=7, output_tokens=3, cost=4_000_000)


async def test_of_two_writers_that_end_a_run_one_counts_it(backend: Any) -> None:
    run = await created(backend)
    endings = [backend.store.save(ended(run, ending)) for ending in ("completed", "completed", "cancelled")]
    outcomes = await asyncio.gather(*endings, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [StaleRun, StaleRun]
    assert (await usage(backend))[1].runs == 1


async def test_many_runs_that_end_at_once_are_all_counted(backend: Any) -> None:
    runs = [a_run(shard=number % 8, user_id=f"user-{number % 3}") for number in range(40)]
    await create_all(backend, runs, Limits())
    stored = [await backend.store.get(run.id) for run in runs]
    await asyncio.gather(*[backend.store.save(ended(run, "completed")) for run in stored])
    assert (await usage(backend))[1] == UsageSum(runs=40, input_tokens=280, output_tokens=120, cost=160_000_000)


async def test_a_forgotten_user_is_no_longer_named_and_the_sums_stay(backend: Any) -> None:
    for user_id in ("demo", "demo", "colleague"):
        await backend.store.save(ended(await created(backend, user_id=user_id, shard=len(user_id)), "completed"))
    before = await usage(backend)
    [(key, one), *others] = await backend.usage.of_user("demo")
    assert (key.user, key.day, sum((other for _, other in others), one).runs) == ("demo", TODAY.isoformat(), 2)
    for user_id in ("demo", "demo", "colleague"):
        await backend.usage.forget_user(user_id)
    assert await backend.usage.of_user("demo") == []
    assert list((await usage(backend, GroupBy.USER))[0]) == [None]
    assert await usage(backend) == before and before[1].runs == 3


# --- budgets ---


async def test_exactly_what_the_budget_covers_is_accepted_of_200_concurrent_runs(backend: Any) -> None:
    outcomes = await create_all(backend, [a_run(bill=RESERVING, user_id=f"user-{n}") for n in range(200)])
    assert outcomes.count(None) == 20
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {BudgetExhausted}


@pytest.mark.parametrize(
    ("ending", "left"), [("completed", 0.026), ("failed", 0.02), ("refused", 0.03), ("cancelled", 0.03)]
)
async def test_the_end_of_a_run_leaves_only_its_cost_of_its_reservation(backend: Any, ending: str, left: float) -> None:
    limits = Limits(budget=Budget(day=to_nano(0.03)))
    run = await created(backend, limits)
    with pytest.raises(BudgetExhausted):
        await created(backend, limits)
    saved = await backend.store.save(ended(run, ending))
    assert saved == await backend.store.get(run.id) and saved.bill.reserved_usd is None
    await backend.store.save(saved.postponed(NOW))
    assert await room(backend, limits) == left


async def test_budgets_renew_with_the_day_and_the_month(backend: Any) -> None:
    limits = Limits(budget=Budget(day=to_nano(0.03), month=to_nano(0.06)))
    await created(backend, limits)
    with pytest.raises(BudgetExhausted) as day:
        await created(backend, limits)
    assert day.value.retry_after == timedelta(hours=12) and "this day" in day.value.message
    await created(backend, limits, created_at=NOW + timedelta(days=1))
    with pytest.raises(BudgetExhausted) as month:
        await created(backend, limits, created_at=NOW + timedelta(days=2))
    assert month.value.retry_after == timedelta(days=28, hours=12) and "2026-04-01" in month.value.message
    await created(backend, limits, created_at=NOW + timedelta(days=31))


async def test_runs_without_a_price_and_other_tenants_have_room_in_an_exhausted_budget(backend: Any) -> None:
    limits = Limits(budget=Budget(day=to_nano(0.03)))
    await created(backend, limits)
    await created(backend, limits, bill=Bill())
    await created(backend, limits, tenant_id="globex")


async def test_a_repeated_create_and_a_known_key_reserve_nothing(backend: Any) -> None:
    limits, run = Limits(budget=Budget(day=to_nano(0.03))), a_run(bill=RESERVING)
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    for _ in range(2):
        assert await backend.store.create(run, idempotency=record, limits=limits) is None
    again = a_run(bill=RESERVING)
    assert await backend.store.create(again, idempotency=replace(record, run_id=again.id), limits=limits) == record
    await backend.store.save((await backend.store.get(run.id)).cancelled(NOW))
    assert await room(backend, limits) == 0.03


async def test_a_run_that_the_budget_refuses_leaves_nothing_behind(backend: Any) -> None:
    limits, refused = Limits(budget=Budget(day=to_nano(0.02)), open_runs=1), a_run(bill=RESERVING)
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=refused.id, expires_at=NOW + timedelta(days=1))
    with pytest.raises(BudgetExhausted):
        await backend.store.create(refused, idempotency=record, limits=limits)
    free = a_run()
    assert await backend.store.create(free, idempotency=replace(record, run_id=free.id), limits=limits) is None


# --- on Firestore ---


async def test_a_repeated_commit_whose_first_answer_was_lost_counts_once(google_emulators: Any) -> None:
    """The client repeats a commit after UNAVAILABLE, also when the server has carried it out."""

    def loses_the_answer(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != COMMIT:
            return forward()
        list(forward())
        proxy.hook = None
        raise Refused(grpc.StatusCode.UNAVAILABLE)

    limits = Limits(budget=Budget(day=to_nano(0.03)))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        run = a_run(bill=RESERVING)
        proxy.hook = loses_the_answer
        assert await store.create(run, limits=limits) is None
        proxy.hook = loses_the_answer
        await store.save(ended(await store.get(run.id), "completed"))
        documents: list[Any] = [one.to_dict() async for one in store._firestore.collection("usage").stream()]
        balances: list[Any] = [one.to_dict() async for one in store._firestore.collection("budgets").stream()]
    assert [entry["runs"] for one in documents for day in one["days"].values() for entry in day.values()] == [1]
    assert [(one["reserved"], one["spent"]) for one in balances] == [(0, 4_000_000)]


async def test_two_processes_that_submit_at_once_keep_the_budget(google_emulators: Any) -> None:
    """Turns order the submits of one process; between processes only the commit does."""
    async with store_behind_a_proxy(google_emulators) as (proxy, here):
        there = type(here)(here._clients)
        runs = [a_run(bill=RESERVING) for _ in range(60)]
        stores = [here, there] * 30
        creating = [store.create(run, limits=FOR_TWENTY) for store, run in zip(stores, runs, strict=True)]
        outcomes = await asyncio.gather(*creating, return_exceptions=True)
    assert outcomes.count(None) == 20
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {BudgetExhausted}


async def test_accounting_costs_one_write_and_a_budget_one_more_at_each_end(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        run = a_run(bill=RESERVING)
        await store.create(run, limits=FOR_TWENTY)
        await store.save(ended(await store.get(run.id), "completed"))
        free = a_run()
        await store.create(free)
        await store.save(ended(await store.get(free.id), "completed"))
        written = Counter[str]()
        for name, count in proxy.writes.items():
            written[name.split("/")[0]] += count
    assert written == {"llm_runs": 4, "usage": 2, "budgets": 2}
