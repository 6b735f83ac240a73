"""Learns from ended runs how long provider jobs take, and plans the re-checks of new runs by it.

No run waits for this, fails by it or pays a write of its own for it. The first NOTED_JOBS of a kind are all noted, and
later ones one in SAMPLED_RUNS. Each instance of a function gathers what it notes, and writes it at most once in
FLUSH_PAUSE. What an instance has gathered when it ends is lost.
"""

import asyncio
from datetime import datetime, timedelta
from zlib import crc32

from msgspec import Struct, field

from shared import log
from shared.domain.best_plan import best_plan
from shared.domain.durations import Durations, one_duration
from shared.domain.progress import Finished, Observation, plan_of
from shared.domain.run import Run
from shared.domain.status import SYNCHRONOUS_APIS
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable, StoreUnavailable
from shared.ports import Clock, DurationStore

KEPT_FOR = timedelta(minutes=1)
MAX_WAIT_SECONDS = 0.5
"""How long a run waits for the store, once in KEPT_FOR; then it is planned with what was known before."""
FLUSH_PAUSE = timedelta(seconds=10)
NOTED_JOBS = 50
SAMPLED_RUNS = 8
MAX_SKETCHES = 1000
JOB_ENDS = frozenset({ErrorCode.LLM_JOB_FAILED, ErrorCode.LLM_FAILED, ErrorCode.LLM_REFUSED})
"""Errors of a check by which the provider job has ended; a job may fail sooner than it would succeed."""


class Sketch(Struct):
    """Holds what this instance knows of the jobs of one deployment or model."""

    read_at: datetime
    known: Durations = Durations()
    gathered: Durations = Durations()
    """What is not written yet."""
    written_at: datetime | None = None
    plan: tuple[int, ...] | None = None
    """The plan that follows from `known`; None when it is to be computed."""


class KnownDurations(Struct, frozen=True, kw_only=True):
    store: DurationStore
    clock: Clock
    _sketches: dict[str, Sketch] = field(default_factory=dict)

    async def plan(self, run: Run) -> tuple[int, ...]:
        """Returns the offsets of the re-checks of the run, which is about to be sent; none for a synchronous call."""
        if run.api in SYNCHRONOUS_APIS:
            return ()
        sketch = await self._sketch(run)
        if sketch.plan is None:
            sketch.plan = best_plan(sketch.known, run.service)
        return sketch.plan

    async def learn(self, run: Run, observed: Observation, *, waited: timedelta, checks: int) -> None:
        """Notes the job's duration when check number `checks`, `waited` after the job was sent, found its end."""
        is_end = isinstance(observed, Finished)
        if isinstance(observed, LlmRefused | LlmUnavailable):
            is_end = observed.code in JOB_ENDS
        if not is_end or run.faults > 0:
            return
        sketch = await self._sketch(run)
        if sketch.known.jobs >= NOTED_JOBS and crc32(run.id.encode()) % SAMPLED_RUNS:
            return
        after = plan_of(run).last_check_before(waited, checks=checks)
        duration = one_duration(after, waited.total_seconds(), known=sketch.known)
        sketch.known, sketch.plan = sketch.known.merged(duration), None
        sketch.gathered = sketch.gathered.merged(duration)
        await self._write(kind_key(run), sketch)

    async def _sketch(self, run: Run) -> Sketch:
        """Returns what is known of jobs like the run's. It is read from the store once in KEPT_FOR, if that works."""
        key, now = kind_key(run), self.clock.now()
        sketch = self._sketches.get(key)
        if sketch is not None and now < sketch.read_at + KEPT_FOR:
            return sketch
        if sketch is None:
            if len(self._sketches) >= MAX_SKETCHES:
                self._sketches.clear()
            sketch = self._sketches.setdefault(key, Sketch(read_at=now))
        sketch.read_at = now  # before the read, so that other runs do not wait for it
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                known = await self.store.known(key)
        except (StoreUnavailable, TimeoutError):
            log.info("durations not read", kind=key)
        else:
            sketch.known, sketch.plan = known.merged(sketch.gathered), None
        return sketch

    async def _write(self, key: str, sketch: Sketch) -> None:
        now = self.clock.now()
        if sketch.written_at is not None and now < sketch.written_at + FLUSH_PAUSE:
            return
        gathered, sketch.gathered, sketch.written_at = sketch.gathered, Durations(), now
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self.store.add(key, gathered)
        except (StoreUnavailable, TimeoutError):
            log.info("durations not written", kind=key)


def kind_key(run: Run) -> str:
    """Returns which runs take alike: those of the same model or deployment and of the same service."""
    place = f"model {run.model.id}" if run.model else f"deployment {run.deployment}"
    return f"{run.service} {place}"
