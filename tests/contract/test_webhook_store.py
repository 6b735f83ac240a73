"""Tests the WebhookStore port, and what RunStore stores of a run's deliveries."""

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.event import Event
from shared.domain.frozen import replace
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.webhook import (
    SUBMIT,
    DisabledReason,
    Endpoint,
    OrganizationWebhooks,
    SigningSecret,
    WebhookTarget,
    rotated,
)
from shared.domain.webhook_delivery import Answer, Delivery, DeliveryStatus
from shared.errors import InvalidRequest, StaleRun
from shared.ports import DeliveryPosition
from tests.contract.runs import NOW, a_run

SECRET = SigningSecret(key="whsec_c2VjcmV0")
ENDPOINT = Endpoint(
    id="hook", url="https://r.example.com/", events=("run.completed",), created_at=NOW, secrets=(SECRET,)
)
TARGET = WebhookTarget(endpoint_id="hook", events=("run.queued", "run.started", "run.completed"))
OWN = WebhookTarget(endpoint_id=SUBMIT, events=("run.completed",), url="https://own.example.com/")


def a_delivery(number: int = 1, **changes: Any) -> Delivery:
    delivery = Delivery(
        id=f"msg_test_{number}",
        organization_id="acme",
        endpoint_id="hook",
        run_id=None,
        sequence=number,
        type="webhook.test",
        at=NOW + timedelta(seconds=number),
        shard=1,
        expires_at=NOW + timedelta(days=3000),
        due_at=NOW + timedelta(seconds=number),
    )
    return replace(delivery, **changes)


async def test_an_organization_without_webhooks_has_an_empty_record(backend: Any) -> None:
    assert await backend.webhooks.organization("acme") == OrganizationWebhooks(organization_id="acme")


async def test_a_change_is_stored_whole(backend: Any) -> None:
    disabled = replace(ENDPOINT, failing_since=NOW).disabled(NOW, DisabledReason.FAILING)
    wanted = OrganizationWebhooks(
        organization_id="acme", endpoints=(disabled,), secrets=rotated((SECRET,), "whsec_bmV3", NOW)
    )
    assert await backend.webhooks.change("acme", lambda current: wanted) == wanted
    assert await backend.webhooks.organization("acme") == wanted
    assert (await backend.webhooks.organization("globex")).endpoints == ()


async def test_concurrent_changes_are_all_kept(backend: Any) -> None:
    for number in range(3):
        await backend.webhooks.change("acme", lambda current, n=number: current.with_new(replace(ENDPOINT, id=str(n))))
    stored = await backend.webhooks.organization("acme")
    assert [endpoint.id for endpoint in stored.endpoints] == ["0", "1", "2"]

    called: list[int] = []

    def change(current: OrganizationWebhooks) -> OrganizationWebhooks:
        called.append(len(current.endpoints))
        return current.without("1")

    assert len((await backend.webhooks.change("acme", change)).endpoints) == 2 and called


async def test_the_error_of_a_change_is_raised_and_nothing_is_stored(backend: Any) -> None:
    def refuse(current: OrganizationWebhooks) -> OrganizationWebhooks:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await backend.webhooks.change("acme", refuse)
    assert (await backend.webhooks.organization("acme")).endpoints == ()


async def test_a_delivery_is_added_once_and_saved_by_its_revision(backend: Any) -> None:
    await backend.webhooks.add(a_delivery())
    await backend.webhooks.add(a_delivery(type="other"))
    stored = await backend.webhooks.delivery("msg_test_1")
    assert stored == a_delivery()
    answer = Answer(code=500, duration=timedelta(seconds=0.25), error=None)
    saved = await backend.webhooks.save(stored.claimed(NOW).answered(NOW, answer))
    assert saved == await backend.webhooks.delivery("msg_test_1")
    assert (saved.status, saved.last_seconds, saved.last_try_at) == (DeliveryStatus.DELIVERED, 0.25, NOW)
    assert await backend.webhooks.save(stored.claimed(NOW)) is None, "another writer was first"
    assert await backend.webhooks.save(saved.redelivered(NOW)) is not None
    assert await backend.webhooks.delivery("msg_unknown") is None


async def test_due_deliveries_of_a_shard_are_listed_in_order(backend: Any) -> None:
    for number in (3, 1, 2, 9):
        await backend.webhooks.add(a_delivery(number))
    await backend.webhooks.add(a_delivery(4, shard=2))
    ended = await backend.webhooks.delivery("msg_test_2")
    await backend.webhooks.save(replace(ended, status=DeliveryStatus.FAILED, due_at=None))
    due = await backend.webhooks.due([1], before=NOW + timedelta(seconds=5), limit=10)
    assert [delivery.sequence for delivery in due] == [1, 3]
    assert [delivery.sequence for delivery in await backend.webhooks.due([1], before=NOW, limit=10)] == []
    [first] = await backend.webhooks.due([1], before=NOW + timedelta(days=1), limit=1)
    assert first.sequence == 1
    of_both = await backend.webhooks.due([2, 1], before=NOW + timedelta(days=1), limit=3)
    assert [delivery.sequence for delivery in of_both] == [1, 3, 4]


async def test_pages_of_an_endpoint_show_each_delivery_once_newest_first(backend: Any) -> None:
    for number in range(5):
        await backend.webhooks.add(a_delivery(number, at=NOW + timedelta(seconds=number // 2)))
    await backend.webhooks.add(a_delivery(7, endpoint_id="other"))
    await backend.webhooks.add(a_delivery(8, organization_id="globex"))
    seen, last = [], None
    while page := await backend.webhooks.page("acme", "hook", limit=2, after=last):
        seen += [delivery.sequence for delivery in page]
        last = DeliveryPosition(at=page[-1].at, delivery_id=page[-1].id)
    assert seen == [4, 3, 2, 1, 0]


async def test_the_commits_of_a_run_store_a_delivery_for_each_wanted_event(backend: Any) -> None:
    run = a_run(webhooks=(TARGET, OWN))
    await backend.store.create(run)
    await backend.store.create(run)
    stored = await backend.store.get(run.id)
    assert [target.recorded for target in stored.webhooks] == [1, 0]
    claimed = await backend.store.save(stored.claimed(NOW, lease=timedelta(minutes=1)))
    ended = await backend.store.save(ended_run(claimed))
    await backend.store.save(ended.postponed(NOW))
    found = sorted(await backend.webhooks.of_run(run.id), key=lambda one: (one.endpoint_id, one.sequence))
    assert [(one.endpoint_id, one.type) for one in found] == [
        ("hook", "run.queued"),
        ("hook", "run.started"),
        ("hook", "run.completed"),
        (SUBMIT, "run.completed"),
    ]
    assert found[0].id == f"msg_{run.id}_hook_1" and all(one.is_pending and one.run_id == run.id for one in found)
    assert [one.sequence for one in await backend.webhooks.chain(found[2])] == [1, 2, 3]
    assert [target.recorded for target in (await backend.store.get(run.id)).webhooks] == [3, 3]


async def test_a_save_that_another_writer_forestalled_stores_no_delivery(backend: Any) -> None:
    run = a_run(webhooks=(OWN,))
    await backend.store.create(run)
    stored = await backend.store.get(run.id)
    await backend.store.save(stored.claimed(NOW, lease=timedelta(minutes=1)))
    with pytest.raises(StaleRun):
        await backend.store.save(ended_run(stored.claimed(NOW, lease=timedelta(minutes=1))))
    assert list(await backend.webhooks.of_run(run.id)) == []


async def test_a_later_save_leaves_deliveries_as_they_are(backend: Any) -> None:
    run = a_run(webhooks=(TARGET,))
    await backend.store.create(run)
    [delivery] = await backend.webhooks.of_run(run.id)
    await backend.webhooks.save(replace(delivery, status=DeliveryStatus.DELIVERED, due_at=None))
    await backend.store.create(run)
    stored = await backend.store.get(run.id)
    await backend.store.save(stored.postponed(NOW))
    [after] = await backend.webhooks.of_run(run.id)
    assert after.status is DeliveryStatus.DELIVERED


async def test_the_deliveries_of_a_forgotten_run_are_gone(backend: Any) -> None:
    runs = [a_run(webhooks=(TARGET,)) for _ in range(2)]
    for run in runs:
        await backend.store.create(run)
    await backend.webhooks.forget_run(runs[0].id)
    assert list(await backend.webhooks.of_run(runs[0].id)) == []
    assert len(await backend.webhooks.of_run(runs[1].id)) == 1


def ended_run(run: Run) -> Run:
    completed = run.completed(NOW, result=Result(text="done"), usage=Usage(), checks=1)
    assert isinstance(completed.events[-1], Event)
    return completed
