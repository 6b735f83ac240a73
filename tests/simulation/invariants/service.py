"""Invariants of how the service answers Google's services, and of errors that nobody expected."""

from collections.abc import Iterator

from tests.simulation.invariants.case import Case

EXPECTED_STATUSES = frozenset({204, 500})


def nothing_fails_unexpectedly(case: Case) -> Iterator[str]:
    yield from case.history.unexpected_errors


def no_answer_slows_the_queue(case: Case) -> Iterator[str]:
    """429 and 503 make Cloud Tasks slow the queue down for all runs."""
    for at, function, status in case.history.answers:
        if status not in EXPECTED_STATUSES:
            yield f"{function} answered {status} at {at:.1f} s"


def no_message_of_a_run_is_given_up(case: Case) -> Iterator[str]:
    """A message that names a stored run is kept with the dead letters only after it came again and again."""
    undelivered = {run_id for _, run_id in case.history.undelivered}
    for source, reason, data in case.history.dead_letters.values():
        named = [run_id for run_id in case.created if run_id in data]
        if any(run_id not in undelivered for run_id in named):
            yield f"{source} gave up a message of run {named[0][-4:]}: {reason}"


SERVICE = (nothing_fails_unexpectedly, no_answer_slows_the_queue, no_message_of_a_run_is_given_up)
