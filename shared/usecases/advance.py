"""Moves a run one step on. process_run and recheck_run both call this use case."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import log
from shared.domain.directory import CHAT
from shared.domain.progress import (
    DEADLINE_EXCEEDED,
    Check,
    CheckLater,
    Complete,
    Consequence,
    Fail,
    Finished,
    JobCreated,
    NextStep,
    Nothing,
    Observation,
    Retry,
    Start,
    consequence,
    next_step,
)
from shared.domain.run import Failure, Run, Status
from shared.errors import LlmRefused, LlmUnavailable, ResultTooLarge, StaleRun, TransientError
from shared.ports import Clock, LlmProvider, Recheck, RecheckScheduler, RunStore
from shared.usecases.conflicts import MAX_UPDATES
from shared.usecases.save_final_run import SaveFinalRun

MIN_ROOM_PAUSE = timedelta(seconds=1)
MAX_ROOM_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """How long a claimed run belongs to the worker that claimed it: a little longer than its LLM call may take."""

    jobs: timedelta
    chat: timedelta

    def of(self, run: Run) -> timedelta:
        return self.chat if run.api == CHAT else self.jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceRun:
    store: RunStore
    provider: LlmProvider
    scheduler: RecheckScheduler
    save_final: SaveFinalRun
    clock: Clock
    leases: Leases

    async def __call__(self, run_id: str, *, checks: int = 0) -> None:
        """Does the run's next step. `checks` is how often the LLM was asked about this attempt before.

        Raises RunNotFound, and a TransientError after which the call is to be repeated.
        """
        run, now = await self.store.get(run_id), self.clock.now()
        step = next_step(run, now)
        match step:
            case Start():
                await self._start(run)
            case Check():
                await self._settle(run, await self._check(run), checks=checks + 1)
            case _:
                await self._carry_out(run, step, now, checks=checks)

    async def _start(self, run: Run) -> None:
        """Claims the run and sends it to the LLM, when the LLM's thread pool has room."""
        async with self.provider.slot(run) as has_room:
            if not has_room:
                return await self._wait_for_room(run)
            try:
                run = await self.store.save(run.claimed(self.clock.now(), lease=self.leases.of(run)))
            except StaleRun:
                log.info("run claimed by another worker", run_id=run.id)
                return None
            observed = await self._submit(run)
        return await self._settle(run, observed, checks=0)

    async def _wait_for_room(self, run: Run) -> None:
        """Schedules another attempt: a function does not wait, and nothing was learnt that is worth a write."""
        now = self.clock.now()
        pause = min(max((now - run.updated_at) / 4, MIN_ROOM_PAUSE), MAX_ROOM_PAUSE)
        recheck = Recheck(run_id=run.id, attempt=run.attempt, sequence=f"room-{round(now.timestamp() * 1000)}")
        await self.scheduler.schedule(recheck, at=now + pause)

    async def _submit(self, run: Run) -> Observation:
        within = run.deadline_at - self.clock.now()
        try:
            return await self.provider.start(run, await self.store.load_input(run), within=within)
        except (LlmUnavailable, LlmRefused) as error:
            return error

    async def _check(self, run: Run) -> Observation:
        try:
            return await self.provider.check(run)
        except (LlmUnavailable, LlmRefused) as error:
            return error

    async def _settle(self, run: Run, observed: Observation, *, checks: int) -> None:
        """Saves what follows from the observation; decides again when another writer saved the run first."""
        for _ in range(MAX_UPDATES):
            now = self.clock.now()
            try:
                return await self._carry_out(run, consequence(run, observed, now), now, checks=checks)
            except StaleRun:
                current = await self.store.get(run.id)
                if not _is_same_claim(current, run):
                    return await self._drop_observation(current, run, observed)
                run = current
        raise StaleRun

    async def _carry_out(self, run: Run, step: NextStep | Consequence, now: datetime, *, checks: int) -> None:
        match step:
            case CheckLater(delay=delay, changed=changed) | Retry(delay=delay, changed=changed):
                saved = run if changed is None else await self.store.save(changed)
                await self.scheduler.schedule(recheck_of(saved, now + delay, checks=checks), at=now + delay)
            case Complete(result=result, usage=usage):
                await self._complete(run.completed(now, result=result, usage=usage, checks=checks), before=run)
            case Fail(error=error):
                if error == DEADLINE_EXCEEDED:
                    await cancel_provider_job(self.provider, run)
                await self._save_final(run.failed(now, error=error, checks=checks))
            case Nothing():
                log.info("run has ended already", run_id=run.id, status=run.status)
                await self.save_final.reconcile_cache(run.id)  # a worker may have died between cache and store

    async def _complete(self, completed: Run, *, before: Run) -> None:
        try:
            await self._save_final(completed)
        except ResultTooLarge as error:
            failure = Failure(code=error.code, message=error.message)
            await self._save_final(before.failed(self.clock.now(), error=failure))

    async def _save_final(self, run: Run) -> None:
        await self.save_final(run)
        log.info(f"run {run.status}", run_id=run.id, attempt=run.attempt, code=run.error.code if run.error else None)

    async def _drop_observation(self, current: Run, mine: Run, observed: Observation) -> None:
        """Handles an observation of an old claim: meanwhile the run has ended or was claimed again."""
        log.info("write of an old claim dropped", run_id=mine.id, status=current.status, fence=mine.fence)
        if current.is_terminal and not isinstance(observed, Finished):
            await cancel_provider_job(self.provider, _with_observed_job(mine, observed))
        elif current.status is Status.CANCELLED:
            try:
                await self.store.save(current.with_late_result(self.clock.now()))
            except StaleRun:
                log.info("late result not recorded", run_id=mine.id)


async def cancel_provider_job(provider: LlmProvider, run: Run) -> None:
    """Asks the LLM once to stop the run's provider job, if it has one; a refusal is logged only."""
    if run.provider_job_id is None:
        return
    try:
        await provider.cancel(run)
    except (TransientError, LlmRefused) as error:
        log.warning("provider job not cancelled", run_id=run.id, code=error.code)


def _is_same_claim(current: Run, mine: Run) -> bool:
    same_claim = (current.fence, current.provider_job_id) == (mine.fence, mine.provider_job_id)
    return same_claim and not current.is_terminal


def _with_observed_job(mine: Run, observed: Observation) -> Run:
    if not isinstance(observed, JobCreated):
        return mine
    return mine.with_provider_job(mine.updated_at, provider_job_id=observed.provider_job_id)


def recheck_of(run: Run, at: datetime, *, checks: int) -> Recheck:
    """Returns the re-check of that time; the same time of the same attempt has the same name, whoever asks for it."""
    if run.provider_job_id is not None and run.sent_at is not None:
        sequence = str(round((at - run.sent_at).total_seconds()))
    else:
        sequence = f"start-{round((run.due_at or at).timestamp() * 1000)}"
        checks = 0
    return Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence, checks=checks)
