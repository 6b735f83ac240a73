"""Divides the time of one delivery between the call to the LLM and the saving of its answer."""

from datetime import timedelta

from msgspec import Struct

from shared.domain.status import Lane


class TimeBudgets(Struct, frozen=True, kw_only=True):
    """Divides the time of one delivery. A call to the LLM always ends before its lease does."""

    short_call: timedelta
    """Maximum time of a call to an asynchronous protocol."""
    long_call: timedelta
    """Maximum time of a call to a synchronous protocol."""
    saving: timedelta
    """How long an answer in hand is saved again and again while the store is away."""
    margin: timedelta = timedelta(seconds=5)

    def call(self, lane: Lane) -> timedelta:
        return self.long_call if lane is Lane.LONG else self.short_call

    def lease(self, lane: Lane) -> timedelta:
        """Returns how long a claim lasts.

        The claim of a synchronous call covers the saving too, since another worker would buy the answer again. An
        asynchronous protocol returns the same provider job to the next worker, which may therefore come soon.
        """
        return self.call(lane) + self.margin + (self.saving if lane is Lane.LONG else timedelta(0))
