"""Follow a run's history as it is written, from any point of it, until the run is complete."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.domain.run import Event, Run
from shared.ports import RunWatcher

SILENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRun:
    watcher: RunWatcher

    async def __call__(self, run_id: str, *, after: int = 0) -> AsyncIterator[tuple[Event, Run] | None]:
        """Each event behind sequence `after`, with the run as it was when read; None after 15 seconds of silence."""
        async with self.watcher.watch(run_id) as feed:
            while True:
                run = await feed.next(timeout=SILENCE_SECONDS)
                if run is None:
                    yield None
                    continue
                for event in run.events:
                    if event.sequence > after and event.type != "run.late_result":
                        after = event.sequence
                        yield event, run
                if run.is_complete:
                    return
