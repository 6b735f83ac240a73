"""Keeps a message that could not be handled however often it was delivered, for operators to see.

A dead letter is no verdict on its run: a bad revision, missing capacity or a store that is away can fail every
delivery. The run goes on by the sweeper and its re-checks, and ends by its own deadline at the latest.
"""

from collections.abc import Mapping

from msgspec import Struct

from shared import log
from shared.error_codes import ErrorCode
from shared.ports import DeadLetters


class BuryMessage(Struct, frozen=True, kw_only=True):
    dead_letters: DeadLetters

    async def __call__(
        self, *, run_id: str | None, message_id: str, source: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        """Keeps the message; keeping it twice keeps it once. Raises StoreUnavailable."""
        await self.dead_letters.keep(
            message_id=message_id, source=source, reason=ErrorCode.UNDELIVERABLE, data=data, attributes=attributes
        )
        log.error("dead letter kept", run_id=run_id, message_id=message_id)
