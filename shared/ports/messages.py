"""Defines what makes a function be called later, and where messages are kept that could not be handled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.domain.dead_letter import DeadLetter
    from shared.domain.recheck_plan import Recheck
    from shared.domain.status import Lane


class RunQueue(Protocol):
    async def publish(self, run_id: str, *, lane: Lane) -> None:
        """Calls process_run with the run at least once, through the queue of that lane. Raises QueueUnavailable."""


class RecheckScheduler(Protocol):
    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        """Makes recheck_run be called at that time or later, at least once, through the queue of that lane.

        Does nothing when a task of the same (run_id, attempt, sequence) was made in the last 24 hours. Raises
        SchedulerUnavailable.
        """


class DeadLetters(Protocol):
    async def keep(
        self, *, message_id: str, source: str, reason: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        """Stores a message that could not be handled, for operators. The same message id is stored once."""

    async def kept(self, *, after: DeadLetter | None = None, limit: int) -> Sequence[DeadLetter]:
        """Returns the kept messages in an order of their own, from behind `after` on."""

    async def get(self, *, source: str, message_id: str) -> DeadLetter | None:
        """Returns the kept message; None when there is none."""

    async def remove(self, letter: DeadLetter) -> None:
        """Deletes the message. Nothing happens if it is gone."""
