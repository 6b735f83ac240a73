"""Sends the runs of dead letters to a worker again, for operators who have mended what broke the deliveries."""

from collections.abc import AsyncIterator
from enum import StrEnum

from msgspec import Struct

from shared.domain.dead_letter import DeadLetter
from shared.errors import RunNotFound
from shared.ports import DeadLetters, RunQueue, RunStore

PAGE = 100


class Replay(StrEnum):
    """Tells what a letter's run needs."""

    SEND = "open: send it again"
    ENDED = "has ended: nothing to do"
    GONE = "is gone: nothing to do"
    UNNAMED = "the message names no run: it stays"


class ReplayDeadLetters(Struct, frozen=True, kw_only=True):
    dead_letters: DeadLetters
    store: RunStore
    queue: RunQueue

    async def letters(self) -> AsyncIterator[DeadLetter]:
        last: DeadLetter | None = None
        while True:
            page = await self.dead_letters.kept(after=last, limit=PAGE)
            for letter in page:
                yield letter
            if len(page) < PAGE:
                return
            last = page[-1]

    async def look_at(self, letter: DeadLetter) -> Replay:
        """Returns what `__call__` would do, and changes nothing."""
        if letter.run_id is None:
            return Replay.UNNAMED
        try:
            run = await self.store.get(letter.run_id, with_result=False)
        except RunNotFound:
            return Replay.GONE
        return Replay.ENDED if run.is_terminal else Replay.SEND

    async def __call__(self, letter: DeadLetter) -> Replay:
        """Publishes the letter's run if it is open, and removes the letter unless it names no run.

        A run that is published twice, because this broke off before the removal, is handled once.
        """
        found = await self.look_at(letter)
        if found is Replay.SEND and letter.run_id is not None:
            run = await self.store.get(letter.run_id, with_result=False)
            await self.queue.publish(run.id, lane=run.lane)
        if found is not Replay.UNNAMED:
            await self.dead_letters.remove(letter)
        return found
