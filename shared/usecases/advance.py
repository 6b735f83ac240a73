"""Moves a run one step on. process_run and recheck_run both call this use case."""

from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from shared import log, tracing
from shared.domain import fallback
from shared.domain.claim import has_saved, is_same_claim
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.progress import (
    BROKEN,
    DEADLINE_EXCEEDED,
    MAX_WORKER_ERRORS,
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
    Running,
    Start,
    consequence,
    first_answer,
    next_step,
    recheck_of,
    until_next_check,
)
from shared.domain.recheck_plan import Recheck, RecheckPlan
from shared.domain.repair import has_answer_in_hand
from shared.domain.run import Run
from shared.domain.status import Lane, Status, Wait
from shared.errors import LlmRefused, LlmUnavailable, ResultTooLarge, StaleRun, StoreUnavailable, TransientError
from shared.ports import Clock, LlmProvider, RecheckScheduler, RunStore
from shared.usecases.conflicts import MAX_UPDATES, retry_when_stale
from shared.usecases.known_durations import KnownDurations
from shared.usecases.save_final_run import SaveFinalRun
from shared.usecases.save_text import start_and_save_text
from shared.usecases.time_budgets import TimeBudgets

FIRST_SAVE_PAUSE = timedelta(seconds=0.25)
MAX_SAVE_PAUSE = timedelta(seconds=5)
WORKER_ERROR_PAUSE = timedelta(seconds=30)


class AdvanceRun(Struct, frozen=True, kw_only=True):
    store: RunStore
    provider: LlmProvider
    scheduler: RecheckScheduler
    save_final: SaveFinalRun
    durations: KnownDurations
    clock: Clock
    budgets: TimeBudgets

    async def __call__(self, run_id: str, *, checks: int = 0) -> None:
        """Does the run's next step. `checks` is how often the LLM was asked about this attempt before.

        Raises RunNotFound, and a TransientError after which the call is to be repeated.
        """
        run = await self.store.get(run_id, or_last_saved=True)
        with tracing.continued(run.traceparent, "advance run"):
            await self._advance(run, checks=checks)

    async def _advance(self, run: Run, *, checks: int) -> None:
        now = self._now(run)
        step = next_step(run, now)
        match step:
            case Start():
                await self._start(run)
            case Check():
                observed = await self._check(run)
                await self._settle(run, observed, checks=checks + 1)
                await self.durations.learn(run, observed, waited=now - (run.sent_at or now), checks=checks + 1)
            case _:
                await self._carry_out(run, step, now, checks=checks)

    async def count_worker_error(self, run_id: str) -> None:
        """Counts an unexpected error on the run that caused it, and fails the run when this has happened too often."""
        await retry_when_stale(lambda: self._count_worker_error(run_id))

    async def _count_worker_error(self, run_id: str) -> None:
        run = await self.store.get(run_id)
        now = self._now(run)
        if run.is_terminal:
            return
        counted = run.with_worker_error(now, delay=WORKER_ERROR_PAUSE)
        if counted.worker_errors < MAX_WORKER_ERRORS:
            await self.store.save(counted)
        else:
            step = first_answer(counted, now) if has_answer_in_hand(counted) else Fail(error=BROKEN)
            await self._carry_out(counted, step, now, checks=counted.checks)

    def _now(self, run: Run) -> datetime:
        """Returns the time on the store's clock, so that a worker whose clock is wrong takes no other worker's run."""
        return self.clock.now() + run.clock_offset

    async def _start(self, run: Run) -> None:
        """Claims the run and sends it to the LLM, when the LLM's thread pool has room."""
        claimed, observed = None, None
        try:
            async with self.provider.slot(run) as has_room:
                if has_room:
                    plan = await self.durations.plan(run)
                    if (claimed := await self._claim(run)) is not None:
                        claimed, observed = await self._submit(claimed, plan)
        except LlmUnavailable as error:  # the LLM's server keeps failing, so it is not asked
            await self._start_elsewhere(run, error)
            return
        if not has_room:
            await self._wait_for_room(run)
        elif claimed is not None and observed is not None:
            await self._settle(claimed, observed, checks=0)

    async def _start_elsewhere(self, run: Run, fault: LlmUnavailable) -> None:
        """Turns the run to its next model or deployment; without one the run waits as for room."""
        now = self._now(run)
        moved = fallback.before_call(run, fault, now)
        if moved is None:
            await self._wait_for_room(run)
            return
        try:
            await self._carry_out(run, Retry(delay=(moved.due_at or now) - now, changed=moved), now, checks=0)
        except StaleRun:
            log.info("run changed meanwhile", run_id=run.id)

    async def _claim(self, run: Run) -> Run | None:
        """Returns the claimed run, or None when another worker is first.

        A save that lets the run as free as before is no reason to drop it: the sweeper notes when it has sent a run,
        and its note may come between the worker's read and its claim.
        """
        for _ in range(MAX_UPDATES):
            try:
                return await self.store.save(run.claimed(self._now(run), lease=self.budgets.lease(run.lane)))
            except StaleRun:
                run, before = await self.store.get(run.id), run
                if run.fence != before.fence or next_step(run, self._now(run)) != Start():
                    break
        log.info("run claimed by another worker", run_id=run.id)
        return None

    async def _wait_for_room(self, run: Run) -> None:
        """Schedules another attempt, since a function does not wait. Only the first one is saved.

        The times follow from the run alone, so that several deliveries of one run ask for the same named task.
        """
        if run.waiting_for is None:
            try:
                run = await self.store.save(run.waiting(Wait.ROOM, due_at=run.due_at))
            except StaleRun:
                log.info("run changed meanwhile", run_id=run.id)
                return
        now = self._now(run)
        offset = RecheckPlan().next_offset(now - run.updated_at)
        sequence = f"room-{round(run.updated_at.timestamp())}-{offset}"
        recheck = Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence)
        await self.scheduler.schedule(recheck, at=run.updated_at + timedelta(seconds=offset), lane=run.lane)

    async def _submit(self, run: Run, plan: tuple[int, ...]) -> tuple[Run, Observation | None]:
        """Returns (the run, what came of the call); None when nobody wants its answer any more."""
        within = min(run.deadline_at - self._now(run), self.budgets.call(run.lane))
        start = partial(self.provider.start, run, await self.store.load_input(run), within=within)
        if run.lane is Lane.LONG:
            return await start_and_save_text(run, start, store=self.store, clock=self.clock)
        try:
            observed = await start()
        except (LlmUnavailable, LlmRefused) as error:
            return run, error
        return run, replace(observed, plan=plan) if isinstance(observed, JobCreated) else observed

    async def _check(self, run: Run) -> Observation:
        try:
            return await self.provider.check(run)
        except (LlmUnavailable, LlmRefused) as error:
            return error

    async def _settle(self, run: Run, observed: Observation, *, checks: int) -> None:
        """Saves what follows from the observation, however long the store is away within the delivery's time."""
        give_up_at = self.clock.now() + self.budgets.saving
        pause = FIRST_SAVE_PAUSE
        while True:
            try:
                return await self._save_consequence(run, observed, checks=checks)
            except StoreUnavailable:
                if isinstance(observed, Running) or self.clock.now() + pause > give_up_at:
                    raise
                log.warning("answer not saved yet", run_id=run.id)
            await self.clock.sleep(pause)
            pause = min(pause * 2, MAX_SAVE_PAUSE)

    async def _save_consequence(self, run: Run, observed: Observation, *, checks: int) -> None:
        """Decides again when another writer saved the run first."""
        for _ in range(MAX_UPDATES):
            now = self._now(run)
            step = consequence(run, observed, now)
            try:
                return await self._carry_out(run, step, now, observed=observed, checks=checks)
            except StaleRun:
                current = await self.store.get(run.id)
                if has_saved(current, run, observed):  # the answer to our own commit was lost
                    later = CheckLater(delay=until_next_check(current, now) if current.sent_at else timedelta(0))
                    return await self._carry_out(current, later, now, checks=checks)
                if not is_same_claim(current, run):
                    return await self._drop_observation(current, run, observed)
                run = current
        raise StaleRun

    async def _carry_out(
        self,
        run: Run,
        step: NextStep | Consequence,
        now: datetime,
        *,
        observed: Observation | None = None,
        checks: int,
    ) -> None:
        match step:
            case CheckLater(delay=delay, changed=changed) | Retry(delay=delay, changed=changed):
                saved = run if changed is None else await self.store.save(changed)
                if saved.fallbacks != run.fallbacks:
                    log.warning(
                        "run falls back", run_id=run.id, code=saved.waiting_for, to=fallback.target_of(saved).name
                    )
                recheck = recheck_of(saved, now + delay, checks=checks)
                await self.scheduler.schedule(recheck, at=now + delay, lane=saved.lane)
            case Complete(result=result, usage=usage, attempts=attempts, leaves_job=leaves_job):
                if leaves_job:
                    await cancel_provider_job(self.provider, _with_observed_job(run, observed))
                completed = run.completed(now, result=result, usage=usage, attempts=attempts, checks=checks)
                await self._complete(completed, before=run)
            case Fail(error=error, may_be_billed=may_be_billed):
                if error == DEADLINE_EXCEEDED:
                    await cancel_provider_job(self.provider, _with_observed_job(run, observed))
                await self._save_final(run.failed(now, error=error, checks=checks, may_be_billed=may_be_billed))
            case Nothing():
                log.info("run has ended already", run_id=run.id, status=run.status)
                await self.save_final.reconcile_cache(run.id)  # a worker may have died between cache and store

    async def _complete(self, completed: Run, *, before: Run) -> None:
        try:
            await self._save_final(completed)
        except ResultTooLarge as error:
            failure = Failure(code=error.code, message=error.message)
            await self._save_final(before.failed(self._now(before), error=failure, may_be_billed=True))

    async def _save_final(self, run: Run) -> None:
        await self.save_final(run)
        log.info(f"run {run.status}", run_id=run.id, attempt=run.attempt, code=run.error.code if run.error else None)

    async def _drop_observation(self, current: Run, mine: Run, observed: Observation) -> None:
        """Handles an observation of an old claim: meanwhile the run has ended or was claimed again.

        A lost save has taken its cache entry away, perhaps between the cache and the store of the writer that won.
        """
        log.info("write of an old claim dropped", run_id=mine.id, status=current.status, fence=mine.fence)
        if current.is_terminal:
            await self.save_final.reconcile_cache(current.id)
        if current.is_terminal and not isinstance(observed, Finished):
            await cancel_provider_job(self.provider, _with_observed_job(mine, observed))
        elif current.status is Status.CANCELLED:
            try:
                await self.store.save(current.with_late_result(self._now(current)))
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


def _with_observed_job(mine: Run, observed: Observation | None) -> Run:
    if not isinstance(observed, JobCreated):
        return mine
    return mine.with_provider_job(mine.updated_at, provider_job_id=observed.provider_job_id)
