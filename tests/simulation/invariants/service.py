"""Invariants of how the service answers Google's services, and of errors that nobody expected."""

from collections.abc import Iterator

from tests.simulation.deliveries import pubsub_data
from tests.simulation.invariants.case import Case

EXPECTED_STATUSES = frozenset({204, 500})
FOR_CLIENTS = frozenset({"store_unavailable", "identity_unavailable"})
"""Faults of other parts than these never keep a client from its answer."""


def nothing_fails_unexpectedly(case: Case) -> Iterator[str]:
    yield from case.history.unexpected_errors


def no_answer_slows_the_queue(case: Case) -> Iterator[str]:
    """429 and 503 make Cloud Tasks slow the queue down for all runs."""
    for answer in case.history.answers:
        if answer.status not in EXPECTED_STATUSES:
            yield f"{answer.function} answered {answer.status} at {answer.at:.1f} s"


def no_message_of_a_run_is_given_up(case: Case) -> Iterator[str]:
    """A message that names a stored run is kept with the dead letters only after it came again and again."""
    undelivered = {run_id for _, run_id in case.history.undelivered}
    for source, reason, data in case.history.dead_letters.values():
        named = [run_id for run_id in case.created if run_id in data or pubsub_data(run_id) in data]
        if any(run_id not in undelivered for run_id in named):
            yield f"{source} gave up a message of run {named[0][-4:]}: {reason}"


def a_failed_event_is_delivered_again(case: Case) -> Iterator[str]:
    for answer in case.history.answers:
        if answer.is_transient_error and answer.status < 300:
            yield f"{answer.function} answered {answer.status} at {answer.at:.1f} s although it had failed"


def a_submit_needs_the_store_alone(case: Case) -> Iterator[str]:
    """The sweeper publishes what the queue did not take, so the client gets its id all the same."""
    for refusal in case.history.refusals:
        if refusal.code.endswith("_unavailable") and refusal.code not in FOR_CLIENTS:
            yield f"{refusal.client} was refused at {refusal.at:.1f} s with {refusal.code}"


SERVICE = (
    nothing_fails_unexpectedly,
    no_answer_slows_the_queue,
    a_failed_event_is_delivered_again,
    no_message_of_a_run_is_given_up,
    a_submit_needs_the_store_alone,
)
