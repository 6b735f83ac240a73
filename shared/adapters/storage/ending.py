"""Tells what the commit that ends a run does beside saving it: it counts the run and settles its reservation."""

from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.domain.webhook_delivery import with_recorded


def must_be_counted(run: Run) -> bool:
    """Returns whether this save has to add the run to the sums of usage.

    The mark `is_counted` is saved in the same commit, so that no later save of the run counts it again.
    """
    return run.is_terminal and not run.bill.is_counted


def must_be_settled(run: Run) -> bool:
    """Returns whether this save has to replace the run's reservation by its cost."""
    return run.is_terminal and run.bill.reserved_usd is not None


def as_saved(run: Run) -> Run:
    """Returns the run as it is to be stored: an ended run holds no permit and no reservation, and is counted.

    The same commit stores the deliveries of its new events (see new_deliveries).
    """
    run = with_recorded(run)
    if not run.is_terminal:
        return run
    return replace(run, permit=None, bill=replace(run.bill, reserved_usd=None, is_counted=True))
