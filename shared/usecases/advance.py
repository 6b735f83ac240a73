"""Move a run one step on. process_run, recheck_run and sweep_runs are verifiers to this one use case."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import log
from shared.domain.directory import LlmApi
from shared.domain.progress import (
    DEADLINE_EXCEEDED,
    Check,
    CheckLater,
    Complete,
    Fail,
    Finished,
    Nothing,
    Observation,
    Retry,
    Start,
    Step,
    decide,
)
from shared.domain.run import Failure, Run, Status
from shared.errors import LlmRefused, LlmUnavailable, ResultTooLarge, StaleRun, TransientError
from shared.ports import Clock, LlmProvider, Recheck, RecheckScheduler, RunStore
from shared.usecases.save_final_run import MAX_TRIES, SaveFinalRun

MIN_PAUSE = timedelta(seconds=1)
MAX_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """How long a claimed run belongs to the worker that claimed it: a little longer than its call may take."""

    jobs: timedelta
    chat: timedelta

    def of(self, run: Run) -> timedelta:
        return self.chat if run.api == LlmApi.OPENAI_CHAT else self.jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceRun:
    store: RunStore
    provider: LlmProvider
    scheduler: RecheckScheduler
    save_final: SaveFinalRun
    clock: Clock
    leases: Leases

    async def __call__(self, run_id: str, *, checks: int = 0) -> None:
        """`checks` counts how often the LLM was asked about this attempt before. Raises RunNotFound, TransientError."""
        run = await self.store.get(run_id)
        step = decide(run, None, self.clock.now())
        observed: Observation = None
        if isinstance(step, Start):
            async with self.provider.slot(run) as has_room:
                if not has_room:
                    return await self._come_back(run)
                try:
                    run = await self.store.save(run.claimed(self.clock.now(), lease=self.leases.of(run)))
                except StaleRun:
                    log.info("run claimed by somebody else", run_id=run.id)
                    return None
                observed = await self._start(run)
        elif isinstance(step, Check):
            observed = await self._check(run)
            checks += 1
        return await self._settle(run, observed, checks)

    async def _come_back(self, run: Run) -> None:
        """No room here and now: a function does not wait, and what was not learnt is not written."""
        now = self.clock.now()
        pause = min(max((now - run.updated_at) / 4, MIN_PAUSE), MAX_PAUSE)
        recheck = Recheck(run_id=run.id, attempt=run.attempt, sequence=f"room-{round(now.timestamp() * 1000)}")
        await self.scheduler.schedule(recheck, at=now + pause)

    async def _start(self, run: Run) -> Observation:
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

    async def _settle(self, run: Run, observed: Observation, checks: int) -> None:
        """Saves what follows from the observation; decides again if somebody else wrote to the run first."""
        for _ in range(MAX_TRIES):
            now = self.clock.now()
            step = decide(run, observed, now)
            try:
                await self._carry_out(run, step, now, checks)
                return
            except StaleRun:
                current = await self.store.get(run.id)
                if not _still_mine(current, run):
                    await self._too_late(current, run, observed)
                    return
                run = current
        raise StaleRun

    async def _carry_out(self, run: Run, step: Step, now: datetime, checks: int) -> None:
        match step:
            case CheckLater(delay=delay, changed=changed) | Retry(delay=delay, changed=changed):
                saved = run if changed is None else await self.store.save(changed)
                await self.scheduler.schedule(recheck_of(saved, now + delay, checks=checks), at=now + delay)
            case Complete(result=result, usage=usage):
                try:
                    await self._save_ended(run.completed(now, result=result, usage=usage, checks=checks))
                except ResultTooLarge as error:
                    await self._save_ended(run.failed(now, error=Failure(code=error.code, message=error.message)))
            case Fail(error=error):
                if error == DEADLINE_EXCEEDED:
                    await self._cancel_upstream(run)
                await self._save_ended(run.failed(now, error=error, checks=checks))
            case Nothing() | Start() | Check():
                log.info("nothing to do", run_id=run.id, status=run.status)
                if run.is_terminal:  # a worker may have died between the result cache and the store
                    await self.save_final.reconcile_cache(run.id)

    async def _save_ended(self, run: Run) -> None:
        await self.save_final(run)
        log.info(f"run {run.status}", run_id=run.id, attempt=run.attempt, code=run.error.code if run.error else None)

    async def _too_late(self, current: Run, mine: Run, observed: Observation) -> None:
        """The run went on without us: cancelled, complete, or claimed anew."""
        log.info("write of an old claim dropped", run_id=mine.id, status=current.status, fence=mine.fence)
        if current.is_terminal and not isinstance(observed, Finished):
            await self._cancel_upstream(_with_job_of(mine, observed))
        elif current.status is Status.CANCELLED:
            try:
                await self.store.save(current.with_late_result(self.clock.now()))
            except StaleRun:
                log.info("late result not recorded", run_id=mine.id)

    async def _cancel_upstream(self, run: Run) -> None:
        await cancel_upstream(self.provider, run)


async def cancel_upstream(provider: LlmProvider, run: Run) -> None:
    """Tries once; the run ends here whatever the LLM says."""
    if run.provider_job_id is None:
        return
    try:
        await provider.cancel(run)
    except (TransientError, LlmRefused) as error:
        log.warning("provider job not cancelled", run_id=run.id, code=error.code)


def _still_mine(current: Run, mine: Run) -> bool:
    return not current.is_terminal and (current.fence, current.provider_job_id) == (mine.fence, mine.provider_job_id)


def _with_job_of(mine: Run, observed: Observation) -> Run:
    provider_job_id = getattr(observed, "provider_job_id", None)
    return mine.accepted(mine.updated_at, provider_job_id=provider_job_id) if provider_job_id else mine


def recheck_of(run: Run, at: datetime, *, checks: int) -> Recheck:
    """The same moment of the same attempt is the same task, whoever asks for it."""
    if run.provider_job_id is not None and run.sent_at is not None:
        sequence = str(round((at - run.sent_at).total_seconds()))
    else:
        sequence = f"start-{round((run.due_at or at).timestamp() * 1000)}"
        checks = 0
    return Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence, checks=checks)
