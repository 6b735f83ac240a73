"""A translation of a chat model in which checks fail is repaired once; whatever happens, an answer in hand is kept."""

from datetime import timedelta

import pytest

from shared.domain import views
from shared.domain.progress import MAX_WORKER_ERRORS
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import LlmRefused, LlmUnavailable, ServiceError, StoreUnavailable
from shared.settings import Settings
from tests.unit.world import EPOCH, TRANSLATOR, World

TEXT = "Please pay 120 euros until tomorrow."
WRONG = '{"translation": "Bitte zahlen Sie 210 Euro bis morgen. <b>"}'
STILL_WRONG = '{"translation": "Bitte zahlen Sie 201 Euro bis morgen. <b>"}'
BETTER = '{"translation": "Bitte zahlen Sie 210 Euro bis morgen."}'
RIGHT = '{"translation": "Bitte zahlen Sie 120 Euro bis morgen."}'


async def translated(world: World, *answers: str, seconds: float = 10) -> Run:
    world.llm.chat_answers = list(answers)
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    await world.run_for(seconds)
    return await world.get(run)


def texts(run: Run) -> tuple[str | None, bool | None]:
    return (run.result.text, run.result.repaired) if run.result else (None, None)


def outcomes(run: Run) -> list[str | None]:
    return [attempt.outcome for attempt in run.attempts]


async def test_a_good_translation_is_not_repaired_and_costs_no_more_writes(world: World) -> None:
    run = await translated(world, RIGHT)
    assert texts(run) == ("Bitte zahlen Sie 120 Euro bis morgen.", False)
    assert world.store.writes[run.id] == 3 and outcomes(run) == ["completed"]


@pytest.mark.parametrize(("second", "text"), [(RIGHT, "120"), (BETTER, "210")])
async def test_a_better_second_answer_is_kept(world: World, second: str, text: str) -> None:
    run = await translated(world, WRONG, second)
    assert run.status is Status.COMPLETED
    assert texts(run) == (f"Bitte zahlen Sie {text} Euro bis morgen.", True)
    assert outcomes(run) == ["completed", "completed"] and run.billed_attempts == 2
    shown = views.user_run_object(run, run.input)
    assert shown["repaired"] is True and len(shown["attempts"]) == 2
    assert list(world.llm.submits.values()) == [1, 1]
    assert world.store.writes[run.id] == 5


async def test_a_second_answer_that_is_no_better_is_dropped(world: World) -> None:
    run = await translated(world, WRONG, STILL_WRONG)
    assert texts(run) == ("Bitte zahlen Sie 210 Euro bis morgen. <b>", False)
    assert sum(world.llm.submits.values()) == 2


async def test_the_first_answer_is_not_shown_as_long_as_it_is_repaired(world: World) -> None:
    seen: list[Run] = []

    async def look(run: Run) -> None:
        seen.append(await world.get(run))

    world.llm.during_start = look
    await translated(world, WRONG, RIGHT)
    repairing = seen[1]
    assert repairing.status is Status.PROCESSING and repairing.result is not None
    shown = views.user_run_object(repairing, repairing.input)
    assert shown["result"] is None and "checks" not in shown and shown["is_complete"] is False


@pytest.mark.parametrize(
    "error",
    [LlmRefused(), LlmUnavailable(code="llm_rate_limited"), LlmUnavailable(code="llm_timeout", may_be_billed=True)],
)
async def test_an_error_of_the_repair_keeps_the_first_answer(world: World, error: ServiceError) -> None:
    async def fail_second(run: Run) -> None:
        if sum(world.llm.submits.values()) == 2:
            raise error

    world.llm.during_start = fail_second
    run = await translated(world, WRONG)
    assert run.status is Status.COMPLETED and texts(run) == ("Bitte zahlen Sie 210 Euro bis morgen. <b>", False)
    assert sum(world.llm.submits.values()) == 2
    assert run.attempts[1].ended_at is not None and run.attempts[1].outcome != "completed"
    assert run.attempts[1].may_be_billed == getattr(error, "may_be_billed", False)


async def test_a_repair_whose_worker_is_lost_is_not_made_again(world: World) -> None:
    async def die(run: Run) -> None:
        if sum(world.llm.submits.values()) == 2:
            raise ConnectionAbortedError

    world.llm.during_start = die
    world.llm.chat_answers = [WRONG, RIGHT]
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    with pytest.raises(ConnectionAbortedError):
        for _ in range(2):
            await world.services.advance(run.id)
    await world.run_for(2000, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and texts(done)[1] is False
    assert outcomes(done) == ["completed", "connection_lost"] and done.billed_attempts == 2
    assert sum(world.llm.submits.values()) == 2


async def test_a_repair_that_nobody_began_begins_when_the_sweeper_finds_the_run(world: World) -> None:
    world.llm.chat_answers = [WRONG, RIGHT]
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    await world.services.advance(run.id)
    await world.lose_everything_under_way()
    await world.run_for(300, sweeping=True)
    done = await world.get(run)
    assert texts(done) == ("Bitte zahlen Sie 120 Euro bis morgen.", True)


async def test_the_deadline_completes_a_run_with_the_answer_in_hand(world: World) -> None:
    world.llm.chat_answers = [WRONG, RIGHT]
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    await world.services.advance(run.id)
    await world.lose_everything_under_way()
    world.clock.forward(3700)
    await world.run_for(300, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and texts(done)[1] is False
    assert sum(world.llm.submits.values()) == 1


async def test_unexpected_errors_complete_a_run_with_the_answer_in_hand(world: World) -> None:
    world.llm.chat_answers = [WRONG]
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    await world.services.advance(run.id)
    for _ in range(MAX_WORKER_ERRORS):
        await world.services.advance.count_worker_error(run.id)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and texts(done)[1] is False


async def test_a_cancel_during_the_repair_cancels_the_run(world: World) -> None:
    world.llm.chat_answers = [WRONG, RIGHT]
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    await world.services.advance(run.id)
    await world.services.cancel(TRANSLATOR, run.id)
    await world.run_for(10)
    done = await world.get(run)
    assert done.status is Status.CANCELLED and done.result is None


async def test_a_lost_answer_to_the_save_of_the_first_answer_makes_one_repair(world: World) -> None:
    world.llm.chat_answers = [WRONG, RIGHT]
    run = await world.submit(TRANSLATOR, input_text=TEXT)
    save, calls = world.store.save, []

    async def lose_answer(changed: Run) -> Run:
        saved = await save(changed)
        calls.append(changed)
        if len(calls) == 2:
            raise StoreUnavailable
        return saved

    setattr(world.store, "save", lose_answer)  # noqa: B010 - a fake of our own
    await world.run_for(60)
    done = await world.get(run)
    assert texts(done) == ("Bitte zahlen Sie 120 Euro bis morgen.", True)
    assert outcomes(done) == ["completed", "completed"] and sum(world.llm.submits.values()) == 2


@pytest.mark.parametrize("settings", [Settings(translation_repairs=0), Settings(max_attempts=1)])
async def test_repairs_can_be_switched_off_and_never_exceed_the_attempts(settings: Settings) -> None:
    async with World(settings=settings) as world:
        run = await translated(world, WRONG, RIGHT)
        assert texts(run)[1] is False and sum(world.llm.submits.values()) == 1


async def test_a_deployment_is_not_asked_to_repair(world: World) -> None:
    world.llm.says = "Bitte zahlen Sie 210 Euro."
    run = await world.submit(input_text=TEXT)
    await world.run_for(60)
    done = await world.get(run)
    assert done.result is not None and not all(check["ok"] for check in done.result.checks)
    assert sum(world.llm.submits.values()) == 1


@pytest.mark.parametrize("trouble", [None, LlmRefused(), LlmUnavailable(code="llm_job_failed"), "deadline"])
async def test_a_background_response_is_repaired_by_another(world: World, trouble: ServiceError | str | None) -> None:
    organizations = world.sqlite.directory
    record = {
        "name": "Initech",
        "deployment": "europe",
        "translation_model": "demo-responses-model",
        "target_lang": "de",
    }
    await organizations.put("organizations", "initech", record)
    world.llm.says = WRONG
    run = await world.submit(TRANSLATOR, input_text=TEXT)

    async def answer_better(current: Run) -> None:
        if current.attempt == 2:
            world.llm.says = RIGHT
            if isinstance(trouble, ServiceError):
                world.llm.check_troubles = [trouble]
            elif trouble == "deadline":
                world.llm.jobs[current.provider_job_id or ""] = EPOCH + timedelta(days=9)

    world.llm.during_check = answer_better
    await world.run_for(4000, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and len(done.attempts) == 2
    assert texts(done)[1] is (trouble is None)
    assert len(world.llm.jobs) == 2
    assert set(world.llm.cancelled) == ({done.attempts[1].provider_job_id} if trouble == "deadline" else set())
