"""Tests the RunReports port, and the tallies of the UsageSums port."""

from datetime import timedelta
from typing import Any

from shared.domain.bill import Bill
from shared.domain.budget import Balance, Budget
from shared.domain.directory import ModelRef
from shared.domain.frozen import replace
from shared.domain.limits import Limits
from shared.domain.money import to_nano
from shared.domain.result import Result
from shared.domain.run import Run
from shared.domain.status import Status
from shared.domain.tally import total
from shared.ports import Accepted, RunPosition
from tests.contract.runs import NOW
from tests.contract.test_usage import RESERVING, created, ended

TODAY = NOW.date()
HOUR = timedelta(hours=1)
ALL_OF_ACME = Accepted(tenant_id="acme", since=NOW - 9 * HOUR, until=NOW + 9 * HOUR)


async def stored_at(backend: Any, hours: int, **changes: Any) -> Run:
    return await created(backend, Limits(), created_at=NOW + hours * HOUR, **changes)


async def ids(backend: Any, wanted: Accepted, **more: Any) -> list[str]:
    page = await backend.reports.accepted(wanted, **{"limit": 10, **more})
    return [run.id for run in page.runs]


async def test_runs_of_a_tenant_or_a_user_are_found_by_their_time_newest_first(backend: Any) -> None:
    first, second = await stored_at(backend, -2), await stored_at(backend, 1, user_id="colleague")
    await stored_at(backend, 0, tenant_id="globex", user_id="other")
    assert await ids(backend, ALL_OF_ACME) == [second.id, first.id]
    assert await ids(backend, replace(ALL_OF_ACME, user_id="colleague")) == [second.id]
    assert await ids(backend, replace(ALL_OF_ACME, until=second.created_at)) == [first.id]
    assert await ids(backend, replace(ALL_OF_ACME, since=second.created_at)) == [second.id]


async def test_the_next_page_begins_behind_a_position(backend: Any) -> None:
    runs = [await stored_at(backend, 1) for _ in range(3)]
    newest_first = sorted((run.id for run in runs), reverse=True)
    after = RunPosition(at=runs[0].created_at, run_id=newest_first[0])
    assert await ids(backend, ALL_OF_ACME, limit=1) == newest_first[:1]
    assert await ids(backend, ALL_OF_ACME, after=after) == newest_first[1:]


async def test_a_status_selects_runs_of_a_tenant_and_of_a_user(backend: Any) -> None:
    await stored_at(backend, 0)
    failed = await backend.store.save(ended(await stored_at(backend, 1), "failed"))
    for user_id in (None, "demo"):
        assert await ids(backend, replace(ALL_OF_ACME, status=Status.FAILED, user_id=user_id)) == [failed.id]


async def test_what_users_and_llms_wrote_is_not_read(backend: Any) -> None:
    run = await stored_at(backend, 0, input={"text": "secret"})
    claimed = run.claimed(NOW, lease=HOUR)
    await backend.store.save(claimed.completed(NOW, result=Result(text="answer"), usage=run.usage, checks=1))
    page = await backend.reports.accepted(ALL_OF_ACME, limit=10)
    [found] = page.runs
    assert (found.id, found.status, found.input, found.result, found.events) == (run.id, "completed", {}, None, ())


async def test_open_runs_of_the_tenant_are_counted(backend: Any) -> None:
    assert await backend.reports.count_open("acme") == 0
    await stored_at(backend, 0)
    claimed = (await stored_at(backend, 0)).claimed(NOW, lease=HOUR)
    await backend.store.save(claimed)
    await backend.store.save(ended(await stored_at(backend, 0), "completed"))
    await stored_at(backend, 0, tenant_id="globex")
    assert await backend.reports.count_open("acme") == 2


async def test_balances_are_those_of_the_day_and_of_its_month(backend: Any) -> None:
    limits = Limits(budget=Budget(day=to_nano(1)))
    assert await backend.reports.balances("acme", TODAY) == (Balance(), Balance())
    await created(backend, limits, bill=RESERVING)
    await backend.store.save(ended(await created(backend, limits, bill=RESERVING), "completed"))
    tomorrow = NOW + timedelta(days=1)
    await created(backend, limits, bill=Bill(estimate_usd=0.01, reserved_usd=0.02), created_at=tomorrow)
    await created(backend, limits, tenant_id="globex")
    day, month = await backend.reports.balances("acme", TODAY)
    assert day == Balance(reserved=to_nano(0.03), spent=to_nano(0.004))
    assert month == Balance(reserved=to_nano(0.05), spent=to_nano(0.004))
    assert await backend.reports.balances("nobody", TODAY) == (Balance(), Balance())


async def test_tallies_have_the_codes_of_failures_and_the_durations_of_completed_runs(backend: Any) -> None:
    model = ModelRef(id="m", name="M", provider="p")
    await backend.store.save(ended(await created(backend, model=model), "completed"))
    for ending in ("failed", "refused", "cancelled"):
        await backend.store.save(ended(await created(backend), ending))
    await backend.store.save(ended(await created(backend, user_id="colleague"), "refused"))
    found = await backend.usage.tallies("acme", first=TODAY, last=TODAY)
    whole = total(tally for _, tally in found)
    assert (whole.runs, whole.failed, whole.failures) == (5, 3, {"llm_failed": 1, "llm_refused": 2})
    assert whole.seconds == {0: 1} and whole.cost > 0
    assert total(tally for key, tally in found if key.model == "m").seconds == {0: 1}
    own = total(tally for _, tally in await backend.usage.tallies("acme", first=TODAY, last=TODAY, user_id="demo"))
    assert (own.runs, own.failures) == (4, {"llm_failed": 1, "llm_refused": 1})
    assert await backend.usage.tallies("globex", first=TODAY, last=TODAY, user_id="demo") == []


async def test_tallies_of_a_forgotten_user_stay_without_the_name(backend: Any) -> None:
    await backend.store.save(ended(await created(backend), "refused"))
    await backend.usage.forget_user("demo")
    found = await backend.usage.tallies("acme", first=TODAY, last=TODAY)
    assert {key.user for key, _ in found} == {None}
    assert total(tally for _, tally in found).failures == {"llm_refused": 1}
    assert await backend.usage.tallies("acme", first=TODAY, last=TODAY, user_id="demo") == []


async def test_a_dead_letter_is_found_by_its_source_and_id(backend: Any) -> None:
    await backend.dead_letters.keep(
        message_id="1", source="s", reason="undeliverable", data="{}", attributes={"a": "b"}
    )
    letter = await backend.dead_letters.get(source="s", message_id="1")
    assert (letter.source, letter.message_id, letter.attributes) == ("s", "1", {"a": "b"})
    assert await backend.dead_letters.get(source="other", message_id="1") is None
