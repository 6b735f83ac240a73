"""Saves the beginning of an answer while the LLM writes it, so that whoever follows the run reads along.

The saves go on beside the call and never delay its answer: when the call is over, they are given up. They also notice
that the run was cancelled or has another claim; then the call is stopped, so that the LLM writes nothing more.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any

from shared import log
from shared.domain.claim import is_same_claim
from shared.domain.delta import MAX_TEXT_BYTES, next_gap, wrote
from shared.domain.progress import Finished, JobCreated, Observation
from shared.domain.run import Run
from shared.errors import LlmRefused, LlmUnavailable, ResultTooLarge, RunNotFound, StaleRun, StoreUnavailable
from shared.ports import Clock, RunStore

LOOK_SECONDS = 10.0
"""How often a call that brings no text looks whether its run is still wanted."""


async def start_and_save_text(
    run: Run, start: Callable[..., Coroutine[Any, Any, JobCreated | Finished]], *, store: RunStore, clock: Clock
) -> tuple[Run, Observation | None]:
    """Returns (the run as it was last saved, what `start` returned or raised), None when the call was stopped.

    `start` takes the keyword `on_text`, an OnText.

    The run has all text that came without a result, unsaved so far: the save of what follows stores it too.
    """
    text = AnswerText(run, store=store, clock=clock)
    call = asyncio.ensure_future(start(on_text=text.add))
    saving = asyncio.ensure_future(text.save_until_lost())
    try:
        await asyncio.wait({call, saving}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done() and _error_of(saving) is None:
            log.info("call stopped: its run has ended or has another claim", run_id=run.id)
            return text.run, None
        observed: Observation = await call
    except (LlmUnavailable, LlmRefused) as error:
        return text.with_rest(), error
    finally:
        call.cancel()
        saving.cancel()
        await asyncio.wait({call, saving})
        if lost := _error_of(saving):  # it ends the saves only: the call is paid for
            log.failure("text of an answer not saved", lost)
    return text.run, observed


def _error_of(saving: "asyncio.Future[None]") -> BaseException | None:
    return None if saving.cancelled() else saving.exception()


class AnswerText:
    """The text that has come so far, and the run as this writer last saved it."""

    def __init__(self, run: Run, *, store: RunStore, clock: Clock) -> None:
        self.run = run
        self.store = store
        self.clock = clock
        self._text = ""
        self._arrived = asyncio.Event()

    def add(self, text: str) -> None:
        if len(self._text) < MAX_TEXT_BYTES:
            self._text += text
        self._arrived.set()

    async def save_until_lost(self) -> None:
        """Saves new text, with a pause after each save. Returns when the run has ended or has another claim."""
        began_at: datetime | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._arrived.wait()
            self._arrived.clear()
            if not await self._is_ours_after_save():
                return
            began_at = began_at or self.clock.now()
            await self.clock.sleep(next_gap(self.clock.now() - began_at))

    def with_rest(self) -> Run:
        """Returns the run with the text that no save has stored, which is then still to be saved."""
        return wrote(self.run, self._now(), text=self._text) if self._text else self.run

    async def _is_ours_after_save(self) -> bool:
        """Saves what is new, or looks at the run when nothing is. A store that is away is tried again later."""
        try:
            longer = wrote(self.run, self._now(), text=self._text)
            if longer.events is not self.run.events:
                self.run = await self.store.save(longer)
                return True
        except StaleRun:
            log.info("run changed meanwhile", run_id=self.run.id)
        except (StoreUnavailable, ResultTooLarge):
            return True
        return await self._is_ours()

    async def _is_ours(self) -> bool:
        """Takes over what others have saved, such as the sweeper's note."""
        try:
            current = await self.store.get(self.run.id, with_result=False)
        except RunNotFound:
            return False
        except StoreUnavailable:
            return True
        is_ours = is_same_claim(current, self.run)
        self.run = current if is_ours else self.run
        return is_ours

    def _now(self) -> datetime:
        return self.clock.now() + self.run.clock_offset
