"""A run's way through the system, with everything that may go wrong on it."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from infra.local.broker import MAX_DELIVERIES
from shared.domain.progress import BROKEN, MAX_WORKER_ERRORS
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import LlmRefused, LlmUnavailable, ServiceError, StoreUnavailable
from shared.settings import Settings
from tests.unit.world import DEMO, EPOCH, FOREVER, World


async def test_a_run_goes_from_pending_to_completed(world: World) -> None:
    run = await world.submit()
    await world.run_for(10)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert done.result is not None and done.result.text == "translated"
    assert [event.type for event in done.events] == ["run.queued", "run.started", "run.completed"]
    assert done.processing_time == timedelta(seconds=7)
    assert done.checks == 3


@pytest.mark.parametrize("seconds", [1, 60, 3000])
async def test_a_run_without_progress_reports_is_written_four_times_however_long_it_takes(
    world: World, seconds: int
) -> None:
    world.llm.takes = timedelta(seconds=seconds)
    run = await world.submit()
    await world.run_for(seconds + 120, sweeping=True)
    assert (await world.get(run)).status is Status.COMPLETED
    assert world.store.writes[run.id] <= 4


async def test_a_synchronous_answer_takes_three_writes(world: World) -> None:
    run = await world.submit_job(model_id="demo-chat-model")
    await world.run_for(1)
    assert (await world.get(run)).status is Status.COMPLETED
    assert world.store.writes[run.id] == 3


async def test_a_result_that_cannot_be_kept_fails_its_run_at_once_and_for_good(world: World) -> None:
    world.llm.says = "x" * (10 * 1024 * 1024)
    run = await world.submit()
    await world.run_for(10)
    failed = await world.get(run)
    assert failed.status is Status.FAILED and failed.due_at is None and failed.result is None
    assert failed.error is not None and failed.error.code == "result_too_large"
    assert {status for _, status in world.answers} == {204}
    shown = await world.cache.get(f"llm_job:{run.id}")
    assert shown is not None and '"failed"' in shown


async def test_progress_is_told_in_steps_worth_telling(world: World) -> None:
    world.llm.takes, world.llm.reports_progress = timedelta(seconds=100), True
    run = await world.submit()
    await world.run_for(150)
    told = [event.detail["progress"] for event in (await world.get(run)).events if event.type == "run.progress"]
    assert told == sorted(told) and len(told) >= 5
    assert all(after - before >= 0.05 - 1e-9 for before, after in zip(told, told[1:], strict=False))


async def test_the_same_message_five_times_at_once_makes_one_submit_and_one_result(world: World) -> None:
    run = await world.submit()
    await asyncio.gather(*[world.services.advance(run.id) for _ in range(5)])
    await world.run_for(30)
    done = await world.get(run)
    assert world.llm.submits == {f"{run.id}-1": 1}
    assert [event.type for event in done.events].count("run.completed") == 1


async def test_timers_that_fire_twice_and_out_of_order_make_one_result(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.clock.forward(20)
    await asyncio.gather(*[world.services.advance(run.id, checks=checks) for checks in (7, 7, 3, 0)])
    await world.run_for(60)
    done = await world.get(run)
    assert [event.type for event in done.events] == ["run.queued", "run.started", "run.completed"]
    assert sum(world.llm.submits.values()) == 1


async def test_a_zombie_that_answers_after_its_lease_changes_nothing(world: World) -> None:
    run = await world.submit()

    async def somebody_else_takes_over(_: Run) -> None:
        world.llm.during_start = None
        world.clock.forward(60)
        await world.services.advance(run.id)

    world.llm.during_start = somebody_else_takes_over
    await world.services.advance(run.id)
    after = await world.get(run)
    assert after.fence == 2 and after.provider_job_id == f"job-{run.id}-1"
    await world.run_for(60)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert len(world.llm.jobs) == 1, "both submits carried the same key"


async def test_a_worker_killed_after_the_claim_is_followed_by_another_under_the_same_key(world: World) -> None:
    run = await world.submit()

    async def killed(_: Run) -> None:
        world.llm.during_start = None
        raise StoreUnavailable  # stands for the end of the process: nothing after the call happens

    world.llm.during_start = killed
    await world.run_for(60)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and done.attempt == 1
    assert world.llm.submits == {f"{run.id}-1": 2}


async def test_a_run_that_never_finishes_fails_at_its_deadline_and_is_cancelled_upstream(world: World) -> None:
    world.llm.takes = FOREVER
    run = await world.submit()
    await world.run_for(3700)
    done = await world.get(run)
    assert done.status is Status.FAILED and done.error is not None and done.error.code == "deadline_exceeded"
    assert done.completed_at is not None and done.completed_at - done.created_at == timedelta(hours=1)
    assert world.llm.cancelled == [f"job-{run.id}-1"]
    assert world.store.writes[run.id] == 4


async def test_a_deadline_of_its_own_counts(world: World) -> None:
    world.llm.takes = FOREVER
    run = await world.submit_job(deadline_seconds=30)
    await world.run_for(31)
    assert (await world.get(run)).status is Status.FAILED


async def test_a_result_that_is_there_is_taken_even_past_the_deadline(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.clock.forward(7200)
    await world.services.advance(run.id)
    assert (await world.get(run)).status is Status.COMPLETED


@pytest.mark.parametrize("code", ["llm_unavailable", "llm_rate_limited", "llm_timeout", "llm_connection_lost"])
async def test_trouble_at_the_start_is_tried_again_under_the_same_key(world: World, code: str) -> None:
    world.llm.troubles = [LlmUnavailable(code=code) for _ in range(6)]
    run = await world.submit()
    await world.run_for(300)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert world.llm.submits == {f"{run.id}-1": 7}
    waits = [event.detail["delay_seconds"] for event in done.events if event.type == "run.retrying"]
    assert waits == [1, 2, 4, 8, 16, 32]


async def test_retry_after_is_honoured(world: World) -> None:
    world.llm.troubles = [LlmUnavailable(code="llm_rate_limited", retry_after=timedelta(seconds=45))]
    run = await world.submit()
    await world.run_for(44)
    assert sum(world.llm.submits.values()) == 1
    await world.run_for(10)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_trouble_up_to_the_deadline_fails_the_run_there(world: World) -> None:
    world.llm.troubles = [LlmUnavailable() for _ in range(1000)]
    run = await world.submit_job(deadline_seconds=600)
    await world.run_for(700)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "deadline_exceeded"
    assert sum(world.llm.submits.values()) < 20


async def test_a_refusal_fails_the_run_at_once(world: World) -> None:
    world.llm.troubles = [LlmRefused(code="llm_quota_exhausted")]
    run = await world.submit()
    await world.deliver()
    done = await world.get(run)
    assert done.status is Status.FAILED and done.error is not None and done.error.code == "llm_quota_exhausted"


async def test_trouble_while_checking_never_submits_again_and_is_told_a_few_times_only(world: World) -> None:
    world.llm.check_troubles = [LlmUnavailable() for _ in range(20)]
    run = await world.submit()
    await world.run_for(900)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert sum(world.llm.submits.values()) == 1
    assert [event.type for event in done.events].count("run.retrying") == 3


async def test_answers_that_nobody_can_read_fail_the_run_after_five(world: World) -> None:
    world.llm.check_troubles = [LlmUnavailable(code="llm_unreadable") for _ in range(20)]
    run = await world.submit()
    await world.run_for(60)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "llm_unreadable"
    assert world.llm.checks == 5


async def test_a_job_that_failed_for_a_passing_reason_becomes_a_new_attempt(world: World) -> None:
    world.llm.check_troubles = [LlmUnavailable(code="llm_job_failed")]
    run = await world.submit()
    await world.run_for(60)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and done.attempt == 2
    assert world.llm.submits == {f"{run.id}-1": 1, f"{run.id}-2": 1}


async def test_a_job_that_the_llm_forgot_fails_the_run_and_is_not_submitted_again(world: World) -> None:
    world.llm.check_troubles = [LlmUnavailable(code="llm_job_unknown") for _ in range(100)]
    run = await world.submit()
    await world.run_for(120)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "llm_job_unknown"
    assert sum(world.llm.submits.values()) == 1


async def test_a_cancel_while_the_llm_is_asked_wins_over_the_late_result(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.clock.forward(30)

    async def cancelled_meanwhile(_: Run) -> None:
        world.llm.during_check = None
        await world.services.cancel(DEMO, run.id)

    world.llm.during_check = cancelled_meanwhile
    await world.run_for(60)
    done = await world.get(run)
    assert done.status is Status.CANCELLED and done.result is None
    assert [event.type for event in done.events][-2:] == ["run.cancelled", "run.late_result"]


async def test_a_cancel_while_the_run_is_submitted_cancels_the_job_that_came_of_it(world: World) -> None:
    run = await world.submit()

    async def cancelled_meanwhile(_: Run) -> None:
        await world.services.cancel(DEMO, run.id)

    world.llm.during_start = cancelled_meanwhile
    await world.run_for(60)
    assert (await world.get(run)).status is Status.CANCELLED
    assert world.llm.cancelled == [f"job-{run.id}-1"]


async def test_cancelling_a_complete_run_changes_nothing(world: World) -> None:
    run = await world.submit()
    await world.run_for(10)
    before = await world.get(run)
    after, cancelled = await world.services.cancel(DEMO, run.id)
    assert not cancelled and after == before


async def test_a_failing_run_store_sends_the_message_again_and_nothing_is_lost(world: World) -> None:
    run = await world.submit()
    world.store.fail_reads(3)
    await world.run_for(60)
    assert (await world.get(run)).status is Status.COMPLETED
    assert ("process_run", 500) in world.answers


async def test_deadlines_by_job_type_come_from_settings() -> None:
    deadlines = {"default": timedelta(hours=1), "review_colab": timedelta(minutes=5), "user_run": timedelta(minutes=2)}
    async with World(settings=Settings(deadlines=deadlines)) as world:
        run, job, review = (
            await world.submit(),
            await world.submit_job(),
            await world.submit_job(job_type="review_colab"),
        )
    assert [item.deadline_at - item.created_at for item in (run, job, review)] == [
        timedelta(minutes=2),
        timedelta(hours=1),
        timedelta(minutes=5),
    ]


async def test_a_run_without_room_is_not_claimed_and_says_once_that_it_waits_for_room(world: World) -> None:
    world.llm.busy_until = world.clock.now() + timedelta(seconds=40)
    run = await world.submit()
    await world.run_for(39)
    waiting = await world.get(run)
    assert (waiting.status, waiting.waiting_for) == (Status.PENDING, "room")
    assert world.store.writes[run.id] == 2 and not world.llm.submits
    await world.run_for(60)
    done = await world.get(run)
    assert (done.status, done.waiting_for) == (Status.COMPLETED, None)
    assert world.llm.submits == {f"{run.id}-1": 1}


async def test_a_call_gets_no_more_time_than_the_run_has(world: World) -> None:
    run = await world.submit_job(model_id="demo-chat-model", deadline_seconds=7)
    world.clock.forward(2)
    await world.deliver()
    assert world.llm.within == timedelta(seconds=5)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_a_run_survives_single_odd_answers(world: World) -> None:
    odd = ["llm_job_unknown", "llm_unreadable", "llm_timeout"] * 3
    world.llm.check_troubles = [LlmUnavailable(code=code) for code in odd]
    run = await world.submit()
    await world.run_for(300)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_a_job_of_a_run_that_failed_meanwhile_is_cancelled(world: World) -> None:
    run = await world.submit()

    async def failed_meanwhile(_: Run) -> None:
        current = await world.get(run)
        await world.store.save(current.failed(world.clock.now(), error=BROKEN))

    world.llm.during_start = failed_meanwhile
    await world.deliver()
    assert (await world.get(run)).status is Status.FAILED
    assert world.llm.cancelled == [f"job-{run.id}-1"]


async def test_a_job_that_the_llm_created_after_the_deadline_is_cancelled(world: World) -> None:
    run = await world.submit()

    async def slow(_: Run) -> None:
        world.clock.forward(4000)

    world.llm.during_start = slow
    await world.deliver()
    done = await world.get(run)
    assert done.error is not None and done.error.code == "deadline_exceeded"
    assert world.llm.cancelled == [f"job-{run.id}-1"]


async def test_a_message_that_is_given_up_is_kept_and_its_run_completes_all_the_same(world: World) -> None:
    run = await world.submit()
    world.store.fail_reads(MAX_DELIVERIES)
    await world.run_for(1000)
    assert not (await world.get(run)).is_terminal
    await world.run_for(300, sweeping=True)
    assert (await world.get(run)).status is Status.COMPLETED
    assert len(await world.dead_letters()) == 1
    assert world.answers.count(("process_run", 500)) == MAX_DELIVERIES


async def test_three_minutes_without_a_worker_fail_no_run(world: World) -> None:
    runs = [await world.submit() for _ in range(5)]
    world.store.fail_reads(10_000)
    await world.run_for(180, sweeping=True)
    world.store.fail_reads(0)
    await world.run_for(90, sweeping=True)
    assert [(await world.get(run)).status for run in runs] == [Status.COMPLETED] * 5
    assert set(world.llm.submits.values()) == {1}


async def test_an_answer_in_hand_outlives_a_store_that_is_away_for_a_minute(world: World) -> None:
    run = await world.submit_job(model_id="demo-chat-model")

    async def store_goes_away(_: Run) -> None:
        back = world.clock.now() + timedelta(seconds=60)
        world.store.is_down = lambda: world.clock.now() < back

    world.llm.during_start = store_goes_away
    await world.run_for(600, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert world.llm.submits == {f"{run.id}-1": 1}


async def test_a_chat_that_times_out_is_paid_for_no_more_often_than_allowed(world: World) -> None:
    world.llm.troubles = [LlmUnavailable(code="llm_timeout", may_be_billed=True) for _ in range(50)]
    run = await world.submit_job(model_id="demo-chat-model")
    await world.run_for(3700, sweeping=True)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "llm_timeout"
    assert sum(world.llm.submits.values()) == 3
    assert [attempt.outcome for attempt in done.attempts] == ["timeout"] * 3 and done.billed_attempts == 3


async def test_a_job_that_always_fails_is_made_no_more_often_than_allowed(world: World) -> None:
    world.llm.check_troubles = [LlmUnavailable(code="llm_job_failed") for _ in range(50)]
    run = await world.submit()
    await world.run_for(3700, sweeping=True)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "llm_job_failed"
    assert world.llm.submits == {f"{run.id}-{attempt}": 1 for attempt in (1, 2, 3)}
    assert [attempt.outcome for attempt in done.attempts] == ["job_failed"] * 3


async def test_calls_that_cost_nothing_are_tried_until_the_deadline(world: World) -> None:
    world.llm.troubles = [LlmUnavailable(code="llm_rate_limited") for _ in range(20)]
    run = await world.submit_job(model_id="demo-chat-model")
    await world.run_for(1500, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert done.billed_attempts == 1 and len(done.attempts) <= 20


async def test_each_chat_call_that_dies_with_its_worker_counts_as_paid(world: World) -> None:

    async def die(_: Run) -> None:
        raise asyncio.CancelledError

    world.llm.during_start = die
    run = await world.submit_job(model_id="demo-chat-model")
    for _ in range(10):
        with suppress(asyncio.CancelledError):
            await world.services.advance(run.id)
        world.clock.forward(400)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "llm_connection_lost"
    assert sum(world.llm.submits.values()) == 3
    assert [attempt.outcome for attempt in done.attempts] == ["connection_lost"] * 3


async def test_a_worker_that_dies_beside_a_job_protocol_is_followed_under_the_same_key(world: World) -> None:

    async def die(_: Run) -> None:
        raise asyncio.CancelledError

    world.llm.during_start = die
    run = await world.submit()
    for _ in range(5):
        with suppress(asyncio.CancelledError):
            await world.services.advance(run.id)
        world.clock.forward(60)
    world.llm.during_start = None
    await world.run_for(60, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    assert world.llm.submits == {f"{run.id}-1": 6} and len(done.attempts) == 1


@pytest.mark.parametrize("later", [LlmUnavailable(), LlmRefused(code="llm_credentials")])
async def test_an_attempt_whose_first_call_may_be_billed_stays_so_whatever_the_next_call_finds(
    world: World, later: ServiceError
) -> None:
    world.llm.takes = FOREVER
    world.llm.troubles = [LlmUnavailable(code="llm_connection_lost", may_be_billed=True), *[later] * 50]
    run = await world.submit()
    await world.run_for(3700, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.FAILED
    assert [attempt.may_be_billed for attempt in done.attempts] == [True]


async def test_a_run_that_breaks_its_worker_again_and_again_fails(world: World) -> None:
    run = await world.submit()
    for _ in range(MAX_WORKER_ERRORS):
        await world.services.advance.count_worker_error(run.id)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "internal"


async def test_however_often_it_is_delivered_a_run_without_room_waits_in_one_chain(world: World) -> None:
    world.llm.busy_until = EPOCH + FOREVER
    run = await world.submit()
    for _ in range(20):
        await world.services.advance(run.id)
    rows = await world.sqlite.database.read(
        lambda connection: connection.execute("SELECT count(*) FROM tasks WHERE deliver_at IS NOT NULL").fetchone()
    )
    assert rows == (1,)


async def test_runs_of_a_dead_worker_are_freed_and_no_others(world: World) -> None:
    waiting, claimed, working = [await world.submit() for _ in range(3)]
    await world.services.advance(working.id)
    world.llm.troubles = [LlmUnavailable(retry_after=timedelta(seconds=50))]
    await world.services.advance(waiting.id)
    await world.store.save((await world.get(claimed)).claimed(world.clock.now(), lease=timedelta(seconds=300)))
    assert await world.services.recover() == 1
    await world.run_for(10)
    assert (await world.get(claimed)).status is Status.COMPLETED
    assert (await world.get(waiting)).waiting_for == "llm_unavailable"
