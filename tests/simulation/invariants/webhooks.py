"""Invariants of webhooks: what receivers got, and what the store says of it in the end."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from standardwebhooks import Webhook

from shared.domain.event import DELTA
from shared.domain.webhook import SUBMIT
from shared.domain.webhook_delivery import GAPS, Delivery, DeliveryError, DeliveryStatus
from tests.simulation.faults import ReceiverFault
from tests.simulation.history import Post
from tests.simulation.invariants.case import Case, short
from tests.simulation.webhooks import KEY

SLACK = 10.0
"""How long the calls around a try may take."""


def every_wanted_event_is_delivered_or_visibly_given_up(case: Case) -> Iterator[str]:
    """A delivery fails only when its receiver is gone or disabled: a plan's faults are over before the last try."""
    for run in case.history.final.values():
        for target in run.webhooks:
            for event in run.events:
                if event.type not in target.events or DELTA in event.detail:
                    continue
                what = f"{event.type} of run {short(run.id)} for {target.endpoint_id}"
                delivery = case.history.deliveries.get(f"msg_{run.id}_{target.endpoint_id}_{event.sequence}")
                if delivery is None:
                    yield f"{what} has no delivery"
                elif not _has_ended_well(case, delivery):
                    yield f"{what} is {delivery.status} in the end after {delivery.tries} tries ({delivery.last_error})"


def a_delivery_stands_for_an_event(case: Case) -> Iterator[str]:
    for delivery in case.history.deliveries.values():
        run = case.history.final.get(delivery.run_id or "")
        events = {(event.sequence, event.type) for event in run.events} if run else set()
        if (delivery.sequence, delivery.type) not in events:
            yield f"delivery {delivery.id} stands for no event"


def later_events_wait_for_earlier_ones(case: Case) -> Iterator[str]:
    posts = _posts(case)
    chains: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in sorted(case.history.deliveries.values(), key=lambda one: one.sequence):
        for earlier in chains[delivery.chain]:
            for post in posts[delivery.id]:
                received = any(one.at <= post.at and one.is_received for one in posts[earlier.id])
                if not received and earlier.status is not DeliveryStatus.FAILED:
                    yield f"{delivery.id} was sent at {post.at:.1f} s before event {earlier.sequence} was received"
        chains[delivery.chain].append(delivery)


def every_try_is_signed_anew(case: Case) -> Iterator[str]:
    for post in case.history.posts:
        headers = post.headers
        at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        expected = Webhook(KEY).sign(headers["webhook-id"], at, post.body)
        if expected not in headers["webhook-signature"].split(" "):
            yield f"the signature of {headers['webhook-id']} at {post.at:.1f} s is wrong"
        if _only_receivers_fail(case) and abs(post.sent_after(at)) > SLACK:
            yield f"{headers['webhook-id']} was signed {post.sent_after(at):.1f} s before it was sent"


def tries_have_the_promised_gaps(case: Case) -> Iterator[str]:
    """Holds where only receivers fail: a lost worker's try is repeated after its lease."""
    if not _only_receivers_fail(case):
        return
    for delivery_id, posts in _posts(case).items():
        for number, (earlier, later) in enumerate(zip(posts, posts[1:], strict=False)):
            least = GAPS[number].total_seconds()
            if not least <= later.at - earlier.at <= least + SLACK:
                yield f"{delivery_id} was tried {later.at - earlier.at:.1f} s after try {number + 1}"


def a_gone_receiver_is_left_alone(case: Case) -> Iterator[str]:
    """Whoever answers 410 gets no other delivery after it, but those that were sent at the same time."""
    if not _only_receivers_fail(case):
        return
    gone_at: dict[str, float] = {}
    for post in case.history.posts:
        key = post.url if not _is_own(case, post) else f"{post.url} of run {_run_of(case, post)}"
        if gone_at.get(key, post.at) < post.at - SLACK:
            yield f"{key} got {post.headers['webhook-id']} at {post.at:.1f} s, after it was gone"
        if post.code == 410:
            gone_at.setdefault(key, post.at)


def _only_receivers_fail(case: Case) -> bool:
    return all(isinstance(fault, ReceiverFault) for fault in case.plan.faults)


def _is_own(case: Case, post: Post) -> bool:
    delivery = case.history.deliveries.get(post.headers["webhook-id"])
    return delivery is not None and delivery.endpoint_id == SUBMIT


def _run_of(case: Case, post: Post) -> str:
    delivery = case.history.deliveries[post.headers["webhook-id"]]
    return short(delivery.run_id or "")


def _has_ended_well(case: Case, delivery: Delivery) -> bool:
    if delivery.status is DeliveryStatus.DELIVERED:
        return any(post.is_received for post in _posts(case)[delivery.id])
    has_gone = any(isinstance(fault, ReceiverFault) and fault.code == 410 for fault in case.plan.faults)
    visible = (DeliveryError.GONE, DeliveryError.ENDPOINT_DISABLED)
    return delivery.status is DeliveryStatus.FAILED and has_gone and delivery.last_error in visible


def _posts(case: Case) -> Mapping[str, list[Post]]:
    """Returns {delivery id: what its receiver got, in order}."""
    found: dict[str, list[Post]] = defaultdict(list)
    for post in case.history.posts:
        found[post.headers["webhook-id"]].append(post)
    return found


WEBHOOKS = (
    every_wanted_event_is_delivered_or_visibly_given_up,
    a_delivery_stands_for_an_event,
    later_events_wait_for_earlier_ones,
    every_try_is_signed_anew,
    tries_have_the_promised_gaps,
    a_gone_receiver_is_left_alone,
)
