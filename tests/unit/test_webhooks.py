"""Webhooks under a clock that only the test moves: which events are delivered, in which order, and how often."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from standardwebhooks import Webhook

from shared.domain.directory import Profile
from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.domain.webhook import SUBMIT, Endpoint
from shared.domain.webhook_delivery import GAPS, Delivery, DeliveryStatus, task_of
from shared.domain.webhook_fields import NewEndpoint
from shared.errors import InvalidRequest, SchedulerUnavailable, WebhookNotFound
from tests.unit.world import DEMO, EPOCH, Received, World

ADMIN = Profile(user_id="admin", organization_id="acme", groups=frozenset({"users", "admins"}))
STRANGER = Profile(user_id="other", organization_id="globex", groups=frozenset({"users", "admins"}))
URL = "https://receiver.example.com/hooks"
ENDS = ("run.completed", "run.failed", "run.cancelled")
DAYS = 24 * 3600


async def endpoint(world: World, *events: str, url: str = URL) -> tuple[Endpoint, str]:
    return await world.services.webhooks.create(ADMIN, NewEndpoint(url=url, events=events or ENDS))


async def deliveries(world: World, endpoint_id: str) -> list[Delivery]:
    """Returns the endpoint's deliveries, oldest first."""
    page = await world.services.webhooks.deliveries(ADMIN, endpoint_id, limit=100, after=None)
    return list(reversed(page.deliveries))


async def current(world: World, endpoint_id: str) -> Endpoint:
    return await world.services.webhooks.get(ADMIN, endpoint_id)


def is_signed_with(secret: str, received: Received) -> bool:
    """Returns whether the official library accepts a signature; it looks at the machine's clock, so not at the time."""
    expected = Webhook(secret).sign(received.headers["webhook-id"], received.at, received.text)
    return expected in received.headers["webhook-signature"].split(" ")


async def test_an_endpoint_gets_the_end_of_a_run_as_the_status_route_shows_it(world: World) -> None:
    _, secret = await endpoint(world)
    run = await world.submit()
    await world.run_for(20)
    [received] = world.receiver.received
    assert received.url == URL and is_signed_with(secret, received)
    body = received.body
    assert body["type"] == "run.completed" and body["data"]["result"]["text"] == "translated"
    assert (body["data"]["run_uuid"], body["data"]["input_text"]) == (run.id, "hello")
    assert set(body) == {"type", "timestamp", "data"}


async def test_a_run_without_a_webhook_costs_no_more_writes_than_before(world: World) -> None:
    run = await world.submit()
    await world.run_for(20)
    assert world.store.writes[run.id] == 4 and world.receiver.received == []


async def test_every_wanted_event_is_delivered_in_order_and_once(world: World) -> None:
    made, _ = await endpoint(world, "run.queued", "run.started", "run.completed")
    await world.submit()
    await world.run_for(60, sweeping=True)
    assert world.receiver.types == ["run.queued", "run.started", "run.completed"]
    found = await deliveries(world, made.id)
    assert [one.status for one in found] == [DeliveryStatus.DELIVERED] * 3
    assert len({received.headers["webhook-id"] for received in world.receiver.received}) == 3


async def test_a_later_event_waits_until_the_earlier_one_is_received(world: World) -> None:
    await endpoint(world, "run.queued", "run.completed")
    world.receiver.code = lambda url: 500 if world.clock.now() < EPOCH + timedelta(minutes=3) else 204
    await world.submit()
    await world.run_for(3600, sweeping=True)
    assert world.receiver.types == ["run.queued", "run.queued", "run.queued", "run.completed"]
    third, last = world.receiver.received[2:]
    assert last.at - third.at < timedelta(seconds=1), "the end of the first one sends the next one at once"


async def test_every_try_has_the_same_id_and_a_signature_of_its_own_time(world: World) -> None:
    _, secret = await endpoint(world)
    world.receiver.code = lambda url: 204 if len(world.receiver.received) == 3 else 503
    await world.submit()
    await world.run_for(3600)
    received = world.receiver.received
    assert len({one.headers["webhook-id"] for one in received}) == 1 and len(received) == 3
    assert len({one.headers["webhook-timestamp"] for one in received}) == 3
    assert all(is_signed_with(secret, one) for one in received)


async def test_the_tries_have_the_promised_gaps_and_the_endpoint_that_fails_for_days_is_disabled(world: World) -> None:
    made, _ = await endpoint(world)
    world.receiver.code = lambda url: 500
    await world.submit()
    await world.run_for(5 * DAYS)
    times = [one.at for one in world.receiver.received]
    assert [later - earlier for earlier, later in pairwise(times)] == list(GAPS)
    [delivery] = await deliveries(world, made.id)
    assert (delivery.status, delivery.tries, delivery.last_code) == (DeliveryStatus.FAILED, 10, 500)
    shown = await current(world, made.id)
    assert not shown.enabled and shown.disabled_reason == "failing" and shown.disabled_at == times[-1]


async def test_an_endpoint_that_is_away_for_two_days_gets_all_afterwards(world: World) -> None:
    made, _ = await endpoint(world)
    world.receiver.code = lambda url: 500 if world.clock.now() < EPOCH + timedelta(days=2) else 200
    for _ in range(3):
        await world.submit()
    await world.run_for(4 * DAYS)
    assert [one.status for one in await deliveries(world, made.id)] == [DeliveryStatus.DELIVERED] * 3
    shown = await current(world, made.id)
    assert shown.enabled and shown.failing_since is None


async def test_410_disables_at_once_and_what_is_left_is_given_up_visibly(world: World) -> None:
    made, _ = await endpoint(world, "run.queued", "run.completed")
    world.receiver.code = lambda url: 410
    await world.submit()
    await world.run_for(60, sweeping=True)
    assert world.receiver.types == ["run.queued"]
    first, second = await deliveries(world, made.id)
    assert (first.status, first.last_code, first.last_error) == (DeliveryStatus.FAILED, 410, "gone")
    assert (second.status, second.last_error) == (DeliveryStatus.FAILED, "endpoint_disabled")
    shown = await current(world, made.id)
    assert (shown.enabled, shown.disabled_reason) == (False, "gone")
    await world.submit()
    await world.run_for(60)
    assert len(world.receiver.received) == 1, "later runs are not for a disabled endpoint"


async def test_an_enabled_endpoint_gets_later_runs_and_what_is_redelivered(world: World) -> None:
    made, _ = await endpoint(world)
    world.receiver.code = lambda url: 410
    await world.submit()
    await world.run_for(60)
    [failed] = await deliveries(world, made.id)
    with pytest.raises(InvalidRequest):
        await world.services.webhooks.redeliver(ADMIN, made.id, failed.id)
    await world.services.webhooks.enable(ADMIN, made.id)
    world.receiver.code = lambda url: 200
    await world.services.webhooks.redeliver(ADMIN, made.id, failed.id)
    await world.submit()
    await world.run_for(60)
    assert [one.status for one in await deliveries(world, made.id)] == [DeliveryStatus.DELIVERED] * 2
    assert len({one.headers["webhook-id"] for one in world.receiver.received}) == 2


async def test_a_disabled_endpoint_gets_nothing(world: World) -> None:
    made, _ = await endpoint(world)
    await world.submit()
    await world.services.webhooks.disable(ADMIN, made.id)
    await world.run_for(60)
    [delivery] = await deliveries(world, made.id)
    assert (delivery.last_error, world.receiver.received) == ("endpoint_disabled", [])


async def test_what_is_pending_for_a_deleted_endpoint_is_given_up(world: World) -> None:
    made, _ = await endpoint(world)
    await world.submit()
    await world.services.webhooks.delete(ADMIN, made.id)
    await world.run_for(60)
    assert world.receiver.received == []
    with pytest.raises(WebhookNotFound):
        await world.services.webhooks.get(ADMIN, made.id)


async def test_the_old_secret_signs_too_for_a_day(world: World) -> None:
    made, old = await endpoint(world)
    _, new = await world.services.webhooks.rotate(ADMIN, made.id)
    await world.submit()
    await world.run_for(20)
    await world.run_for(DAYS)
    await world.submit()
    await world.run_for(20)
    first, second = world.receiver.received
    assert is_signed_with(new, first) and is_signed_with(old, first)
    assert is_signed_with(new, second) and not is_signed_with(old, second)


async def test_a_submits_own_webhook_is_signed_with_the_organizations_secret(world: World) -> None:
    secret = await world.services.webhooks.make_secret(ADMIN)
    await world.submit(webhook={"url": URL, "events": ["run.started", "run.completed"]})
    await world.submit()
    await world.run_for(60)
    assert world.receiver.types == ["run.started", "run.completed"]
    assert all(is_signed_with(secret, one) for one in world.receiver.received)


async def test_a_submits_own_webhook_that_answered_410_is_not_called_again(world: World) -> None:
    await world.services.webhooks.make_secret(ADMIN)
    world.receiver.code = lambda url: 410
    await world.submit(webhook={"url": URL, "events": ["run.queued", "run.completed"]})
    await world.run_for(60, sweeping=True)
    assert world.receiver.types == ["run.queued"]
    assert [one.last_error for one in await deliveries(world, SUBMIT)] == ["gone", "gone"]


async def test_a_submit_with_a_webhook_that_nothing_can_sign_is_refused_with_what_to_do(world: World) -> None:
    with pytest.raises(InvalidRequest, match="POST /api/webhooks/secret/") as raised:
        await world.submit(webhook={"url": URL})
    assert raised.value.field == "webhook"


@pytest.mark.parametrize(
    "webhook",
    [
        {},
        {"url": "http://receiver.example.com/"},
        {"url": "https://127.0.0.1/"},
        {"url": URL, "events": ["run.finished"]},
        {"url": URL, "events": "run.completed"},
        {"url": URL, "secret": "x"},
        "https://receiver.example.com/",
    ],
)
async def test_a_wrong_webhook_is_refused_and_names_the_field(world: World, webhook: Any) -> None:
    await world.services.webhooks.make_secret(ADMIN)
    with pytest.raises(InvalidRequest) as raised:
        await world.submit(webhook=webhook)
    assert raised.value.field == "webhook"


async def test_lost_tasks_are_repaired_by_the_sweeper(world: World) -> None:
    await endpoint(world, "run.queued", "run.completed")
    await world.submit()
    await world.lose_everything_under_way()
    await world.run_for(400, sweeping=True)
    assert world.receiver.types == ["run.queued", "run.completed"]


async def test_a_healthy_delivery_gives_the_sweeper_nothing_to_do(world: World) -> None:
    await endpoint(world, "run.queued", "run.completed")
    await world.submit()
    await world.run_for(20)
    assert await world.services.sweep.webhooks() == 0


async def test_the_sweeper_repairs_a_delivery_again_only_after_a_pause(world: World) -> None:
    await endpoint(world, "run.queued")
    world.paused_queues.add("webhooks")
    await world.submit()
    world.clock.forward(120)
    sweep = world.services.sweep.webhooks
    assert [await sweep(), await sweep()] == [1, 0]
    world.clock.forward(600)
    assert await sweep() == 1
    world.paused_queues.clear()
    await world.run_for(60)
    assert len(world.receiver.received) == 1, "of three tasks the first one delivers"


async def test_a_task_that_comes_twice_or_late_sends_nothing_more(world: World) -> None:
    made, _ = await endpoint(world)
    world.receiver.code = lambda url: 500
    await world.submit()
    await world.run_for(7)
    [delivery] = await deliveries(world, made.id)
    assert delivery.tries == 1
    for task in (replace(task_of(delivery), turn=0), replace(task_of(delivery), delivery_id="msg_unknown")):
        await world.services.deliver_webhook(task)
    assert len(world.receiver.received) == 1


async def test_a_test_is_tried_once_and_shows_what_came_of_it(world: World) -> None:
    made, secret = await endpoint(world)
    world.receiver.code = lambda url: 500
    await world.services.webhooks.test(ADMIN, made.id)
    await world.run_for(DAYS)
    [received] = world.receiver.received
    [delivery] = await deliveries(world, made.id)
    assert (received.body["type"], is_signed_with(secret, received)) == ("webhook.test", True)
    assert (delivery.status, delivery.last_code, delivery.run_id) == (DeliveryStatus.FAILED, 500, None)
    assert (await current(world, made.id)).failing_since is None


async def test_a_redelivered_message_has_its_old_id(world: World) -> None:
    made, _ = await endpoint(world)
    await world.submit()
    await world.run_for(20)
    [delivery] = await deliveries(world, made.id)
    await world.services.webhooks.redeliver(ADMIN, made.id, delivery.id)
    await world.run_for(20)
    assert [one.headers["webhook-id"] for one in world.receiver.received] == [delivery.id] * 2


async def test_nobody_reaches_the_webhooks_of_another_organization(world: World) -> None:
    made, _ = await endpoint(world)
    await world.submit()
    await world.run_for(20)
    [delivery] = await deliveries(world, made.id)
    webhooks = world.services.webhooks
    assert (await webhooks.all(STRANGER)).endpoints == ()
    for method in (webhooks.get, webhooks.rotate, webhooks.enable, webhooks.disable, webhooks.delete, webhooks.test):
        with pytest.raises(WebhookNotFound):
            await method(STRANGER, made.id)
    with pytest.raises(WebhookNotFound):
        await webhooks.redeliver(STRANGER, made.id, delivery.id)
    with pytest.raises(WebhookNotFound):
        await webhooks.redeliver(ADMIN, SUBMIT, delivery.id)
    with pytest.raises(WebhookNotFound):
        await webhooks.deliveries(STRANGER, made.id, limit=10, after=None)
    assert (await webhooks.deliveries(STRANGER, SUBMIT, limit=10, after=None)).deliveries == []


async def test_the_content_of_an_erased_run_is_in_no_later_try(world: World) -> None:
    await endpoint(world)
    world.receiver.code = lambda url: 500 if len(world.receiver.received) == 1 else 200
    run = await world.submit()
    await world.run_for(7)
    await world.services.delete(DEMO, run.id)
    await world.run_for(60)
    first, second = world.receiver.received
    assert "hello" in first.text and "translated" in first.text
    assert "hello" not in second.text and "translated" not in second.text


async def test_a_large_result_is_left_out_and_its_place_is_named(world: World) -> None:
    await endpoint(world)
    world.llm.says = "ü" * 200_000
    run = await world.submit()
    await world.run_for(20)
    [received] = world.receiver.received
    data = received.body["data"]
    assert "result" not in data and data["url"] == f"/llm_user_runs/{run.id}" and data["status"] == "completed"


async def test_a_body_of_256_kib_is_sent_whole_and_a_larger_one_is_not(world: World) -> None:
    await endpoint(world)
    for length, has_result in ((250 * 1024, True), (256 * 1024 - 50, False)):
        world.llm.says = "x" * length
        world.receiver.received.clear()
        await world.submit()
        await world.run_for(20)
        [received] = world.receiver.received
        assert ("result" in received.body["data"]) is has_result
        assert len(received.text.encode()) <= 256 * 1024


async def test_a_delivery_of_a_forgotten_run_is_gone_too(world: World) -> None:
    made, _ = await endpoint(world)
    world.receiver.code = lambda url: 500
    await world.submit()
    await world.run_for(20)
    await world.services.forget(DEMO.user_id)
    await world.run_for(DAYS)
    assert len(world.receiver.received) == 2, "its tries before it was forgotten"
    assert await deliveries(world, made.id) == []


async def test_a_scheduler_that_is_down_delays_a_delivery_and_fails_nothing(world: World) -> None:
    class Down:
        async def schedule(self, task: Any, *, at: Any) -> None:
            raise SchedulerUnavailable

    await endpoint(world, "run.queued", "run.completed")
    working = world.sqlite.webhook_scheduler
    world.sqlite.webhook_scheduler = Down()  # type: ignore[assignment]
    run: Run = await world.submit()
    await world.run_for(20)
    assert world.receiver.received == [] and (await world.get(run)).is_terminal
    world.sqlite.webhook_scheduler = working
    await world.run_for(300, sweeping=True)
    assert world.receiver.types == ["run.queued", "run.completed"]


async def test_an_organization_has_a_bounded_number_of_endpoints_and_of_secrets(world: World) -> None:
    made = [await endpoint(world) for _ in range(10)]
    with pytest.raises(InvalidRequest):
        await endpoint(world)
    for _ in range(20):
        await world.services.webhooks.rotate(ADMIN, made[0][0].id)
    assert len((await current(world, made[0][0].id)).secrets) == 10


async def test_secrets_stand_in_no_text_of_a_record(world: World) -> None:
    made, secret = await endpoint(world)
    own = await world.services.webhooks.make_secret(ADMIN)
    shown = repr(await world.services.webhooks.all(ADMIN)) + repr(made)
    assert secret not in shown and own not in shown


async def test_a_worker_that_dies_during_a_try_leaves_a_delivery_that_is_tried_again(world: World) -> None:
    made, _ = await endpoint(world, "run.queued")
    await world.submit()
    [delivery] = await deliveries(world, made.id)
    claimed = await world.sqlite.webhooks.save(delivery.claimed(world.clock.now()))
    await world.run_for(20, sweeping=True)
    assert claimed is not None and world.receiver.received == [], "the lease has not ended"
    await world.run_for(180, sweeping=True)
    assert world.receiver.types == ["run.queued"]


async def test_the_next_process_takes_a_dead_workers_deliveries_over_at_once(world: World) -> None:
    made, _ = await endpoint(world, "run.queued")
    await world.submit()
    [delivery] = await deliveries(world, made.id)
    await world.sqlite.webhooks.save(delivery.claimed(world.clock.now()))
    await world.services.recover()
    await world.run_for(1)
    assert world.receiver.types == ["run.queued"]
