"""Violations for the invariants of webhooks, which test_invariants.py plants into a history without one."""

from collections.abc import Callable

from shared.domain.frozen import replace
from shared.domain.webhook_delivery import Delivery, DeliveryStatus
from tests.simulation.history import History
from tests.simulation.plan import Plan, PlanSettings, Submit
from tests.simulation.script import LlmScript

PLAN_WITH_WEBHOOKS = Plan(
    seed=1,
    settings=PlanSettings(webhooks=(("run.started", "run.completed"),)),
    clients=(
        Submit(name="first", at=0.0, user="ann", family="job", llm=LlmScript(takes=2.0)),
        Submit(name="second", at=60.0, user="ann", family="job", llm=LlmScript(takes=2.0)),
    ),
)


def delivery_of(history: History, kind: str) -> Delivery:
    return next(delivery for delivery in history.deliveries.values() if delivery.type == kind)


def plant_a_delivery_that_never_came(history: History) -> None:
    lost = delivery_of(history, "run.completed")
    history.deliveries = {key: one for key, one in history.deliveries.items() if one is not lost}


def plant_a_delivery_of_nothing(history: History) -> None:
    delivery = replace(delivery_of(history, "run.started"), id="msg_of_nothing", sequence=99)
    history.deliveries = {**history.deliveries, delivery.id: delivery}


def plant_an_event_out_of_order(history: History) -> None:
    """The earlier event is received only after the later one was sent."""
    earlier = delivery_of(history, "run.started").id
    for number, post in enumerate(history.posts):
        if post.headers["webhook-id"] == earlier:
            history.posts[number] = replace(post, at=history.ended_at)


def plant_a_wrong_signature(history: History) -> None:
    post = history.posts[0]
    history.posts[0] = replace(post, headers={**post.headers, "webhook-signature": "v1,bm90aGluZw=="})


def plant_a_try_too_soon(history: History) -> None:
    post = history.posts[0]
    history.posts.insert(1, replace(post, at=post.at + 1))


def plant_a_post_to_a_receiver_that_is_gone(history: History) -> None:
    history.posts[0] = replace(history.posts[0], code=410)


WEBHOOK_PLANTS: dict[str, Callable[[History], None]] = {
    "every_wanted_event_is_delivered_or_visibly_given_up": plant_a_delivery_that_never_came,
    "a_delivery_stands_for_an_event": plant_a_delivery_of_nothing,
    "later_events_wait_for_earlier_ones": plant_an_event_out_of_order,
    "every_try_is_signed_anew": plant_a_wrong_signature,
    "tries_have_the_promised_gaps": plant_a_try_too_soon,
    "a_gone_receiver_is_left_alone": plant_a_post_to_a_receiver_that_is_gone,
}


def all_are_delivered(history: History) -> bool:
    statuses = {delivery.status for delivery in history.deliveries.values()}
    return len(history.posts) == 4 and statuses == {DeliveryStatus.DELIVERED}
