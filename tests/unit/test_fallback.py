"""When a run goes to its next model or deployment, and what stands on it then."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from infra.local.fixtures import MODELS, ORGANIZATIONS
from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.domain import fallback, views
from shared.domain.directory import LlmApi, Model, ModelRef, Organization
from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.domain.status import Lane, Service, Status
from shared.domain.target import MAX_FALLBACKS, Target, plan_for_model, plan_for_organization, wanted_names
from shared.errors import LlmRefused, LlmUnavailable, StoreUnavailable
from tests.contract.runs import NOW, a_run
from tests.unit.world import DEMO, World

HOUR = timedelta(hours=1)
FIRST = ModelRef(id="first", name="First", provider="p")
SPARE = Target(api="openai_chat", model=ModelRef(id="spare", name="Spare", provider="q"), deployment="default")
LAST = Target(api="llm_jobs", model=ModelRef(id="last", name="Last", provider="r"), deployment="default")
LIMITED = LlmUnavailable(code="llm_rate_limited", retry_after=timedelta(seconds=20))
GONE = LlmRefused(code="llm_model_gone")


def a_model(model_id: str, **changes: Any) -> Model:
    return Model(id=model_id, name="M", provider="p", api="openai_chat", upstream_model="u", **changes)


def claimed(**changes: Any) -> Run:
    run = a_run(model=FIRST, deployment="europe", fallbacks=(SPARE, LAST), **changes)
    return run.claimed(NOW, lease=HOUR)


# --- the plan ---


def test_a_model_and_its_fallback_may_name_each_other() -> None:
    one, two = a_model("one", fallback=["two"]), a_model("two", fallback=["one"])
    found = {"one": one, "two": two}
    assert [target.name for target in plan_for_model(one, found, Service.STANDARD, NOW).targets] == ["two"]
    assert [target.name for target in plan_for_model(two, found, Service.STANDARD, NOW).targets] == ["one"]


def test_entries_that_cannot_be_used_are_left_out_and_named() -> None:
    found = {name: a_model(name) for name in ("one", "b", "c", "d", "e")}
    found["off"] = a_model("off", enabled=False)
    model = a_model("one", fallback=["one", "b", "off", "b", "nowhere", "c", "d", "e"])
    plan = plan_for_model(model, found, Service.STANDARD, NOW)
    assert [target.name for target in plan.targets] == ["b", "c", "d"] and MAX_FALLBACKS == 3
    assert [problem.split()[0] for problem in plan.problems] == ["one", "off", "b", "nowhere", "e"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"enabled": False}, "is no model that is available"),
        ({"api": "telepathy"}, "has a protocol that is not known"),
        ({"batch_api": "telepathy"}, "has a protocol that is not known"),
        ({"base_url": 7}, "has fields of a wrong type"),
        ({"max_output_tokens": "many"}, "has fields of a wrong type"),
        ({"parameters": "hot"}, "has fields of a wrong type"),
        ({"unsupported_parameters": None}, "has fields of a wrong type"),
        ({"prices": {"input": "cheap"}}, "has prices that cannot be read"),
    ],
)
def test_a_record_that_no_run_could_be_sent_with_is_left_out(changes: dict[str, Any], problem: str) -> None:
    found = {"bad": replace(a_model("bad"), **changes), "good": a_model("good")}
    plan = plan_for_model(a_model("one", fallback=["bad", "good"]), found, Service.STANDARD, NOW)
    assert [target.name for target in plan.targets] == ["good"] and plan.problems == (f"bad {problem}",)


def test_a_job_goes_only_to_models_that_take_its_parameters() -> None:
    found = {"cold": a_model("cold", unsupported_parameters=["temperature"]), "small": a_model("small")}
    model = a_model("one", fallback=["cold", "small"])
    plan = plan_for_model(model, found, Service.STANDARD, NOW, content={"full_input": "x", "temperature": 0.5})
    assert [target.name for target in plan.targets] == ["small"] and plan.problems == ()


def test_a_job_of_the_batch_service_goes_only_to_models_that_have_one() -> None:
    found = {"plain": a_model("plain"), "batch": a_model("batch", batch_api="openai_batch")}
    plan = plan_for_model(a_model("one", fallback=["plain", "batch"]), found, Service.BATCH, NOW)
    assert [(target.name, target.api) for target in plan.targets] == [("batch", "openai_batch")]
    assert plan.problems == ()


def test_an_organization_names_deployments() -> None:
    organization = Organization(
        id="a", name="A", deployment="europe", fallback=["tokyo", "europe", "tokyo", "b", "c", "d"]
    )
    plan = plan_for_organization(organization)
    assert [(target.api, target.deployment) for target in plan.targets] == [
        ("llm_jobs", "tokyo"), ("llm_jobs", "b"), ("llm_jobs", "c")
    ]  # fmt: skip
    assert [problem.split()[0] for problem in plan.problems] == ["europe", "tokyo", "d"]


@pytest.mark.parametrize(
    ("record", "names"), [(["a", "b"], ["a", "b"]), ("a", ["a"]), (None, []), (7, []), ([7, "a", None], ["a"])]
)
def test_a_record_may_hold_anything(record: object, names: list[str]) -> None:
    assert wanted_names(record) == names


# --- the decision ---


@pytest.mark.parametrize(
    ("fault", "delay", "moves"),
    [
        (GONE, 0, True),
        (LlmRefused(code="model_unavailable"), 0, True),
        (LlmRefused(code="llm_credentials"), 0, False),
        (LlmRefused(code="llm_quota_exhausted"), 0, False),
        (LlmRefused(code="llm_input_too_long"), 0, False),
        (LlmRefused(), 0, False),
        (LIMITED, 20, True),
        (LIMITED, 3, False),
        (LlmUnavailable(code="llm_overloaded"), 4, True),
        (LlmUnavailable(code="llm_overloaded"), 1, False),
        (LlmUnavailable(code="llm_timeout", may_be_billed=True), 60, False),
        (LlmUnavailable(code="llm_connection_lost", may_be_billed=True), 60, False),
        (LlmUnavailable(), 60, False),
    ],
)
def test_a_run_leaves_a_target_that_is_gone_overloaded_or_limited(fault: Any, delay: int, moves: bool) -> None:
    moved = fallback.after_call(claimed(), fault, NOW, delay=timedelta(seconds=delay))
    assert (moved is not None) is moves


def test_the_next_target_has_a_new_attempt_and_the_history_says_why() -> None:
    run = claimed(prior_provider_job_id="job-of-europe")
    moved = fallback.after_call(run, LIMITED, NOW, delay=timedelta(seconds=20))
    assert moved is not None
    assert (moved.model, moved.api, moved.deployment) == (SPARE.model, "openai_chat", "default")
    assert (moved.lane, run.lane) == (Lane.LONG, Lane.SHORT)
    assert moved.idempotency_key != run.idempotency_key and moved.fallbacks == (LAST, moved.requested)
    assert moved.prior_provider_job_id is None, "another deployment does not know it"
    assert moved.requested == Target(api="llm_jobs", model=FIRST, deployment="europe")
    assert moved.events[-1].detail == {"reason": "llm_rate_limited", "delay_seconds": 0.0, "model": "spare"}
    assert [(a.model, a.outcome, a.may_be_billed) for a in moved.attempts] == [("first", "rate_limited", False)]
    again = fallback.after_call(moved.claimed(NOW, lease=HOUR), GONE, NOW, delay=timedelta(0))
    assert again is not None and (again.model, again.requested) == (LAST.model, moved.requested)
    back = fallback.after_call(again.claimed(NOW, lease=HOUR), GONE, NOW, delay=timedelta(0))
    assert back is not None and (back.model, back.requested, back.fallbacks) == (FIRST, None, ())
    assert back.due_at == NOW + fallback.RETURN_DELAY and back.events[-1].detail["delay_seconds"] == 10
    assert fallback.after_call(back.claimed(NOW, lease=HOUR), LIMITED, NOW, delay=HOUR) is None


def test_a_run_does_not_come_back_to_a_target_that_is_gone() -> None:
    moved = fallback.after_call(claimed(), GONE, NOW, delay=timedelta(0))
    assert moved is not None and moved.fallbacks == (LAST,)


@pytest.mark.parametrize(
    "code", ["llm_credentials", "llm_quota_exhausted", "llm_input_too_long", "llm_refused", "model_unavailable"]
)
def test_a_run_leaves_a_fallback_that_does_not_take_it(code: str) -> None:
    run = fallback.after_call(claimed(), LIMITED, NOW, delay=HOUR)
    assert run is not None
    moved = fallback.after_call(run.claimed(NOW, lease=HOUR), LlmRefused(code=code), NOW, delay=timedelta(0))
    assert moved is not None and moved.model == LAST.model


def test_what_a_model_has_read_and_declined_is_not_sent_to_the_next_one() -> None:
    run = fallback.after_call(claimed(), LIMITED, NOW, delay=HOUR)
    assert run is not None
    declined = LlmRefused(may_be_billed=True)
    assert fallback.after_call(run.claimed(NOW, lease=HOUR), declined, NOW, delay=timedelta(0)) is None


def test_a_provider_job_is_left_only_when_it_has_failed() -> None:
    run = claimed().with_provider_job(NOW, provider_job_id="job-1")
    removed = LlmRefused(code="model_unavailable")
    for fault in (removed, LIMITED, LlmUnavailable(code="llm_job_unknown")):
        assert fallback.after_call(run, fault, NOW, delay=HOUR) is None
    for fault, outcome in ((LlmUnavailable(code="llm_job_failed"), "job_failed"), (GONE, "refused")):
        moved = fallback.after_call(run, fault, NOW, delay=timedelta(0))
        assert moved is not None and moved.provider_job_id is None
        assert [(attempt.outcome, attempt.may_be_billed) for attempt in moved.attempts] == [(outcome, True)]


def test_a_call_whose_answer_was_lost_is_asked_for_again_where_it_was_made() -> None:
    lost = claimed().with_fault(NOW, reason="llm_timeout", delay=timedelta(0), may_be_billed=True)
    run = lost.claimed(NOW + timedelta(seconds=1), lease=HOUR)
    assert fallback.after_call(run, LIMITED, NOW, delay=HOUR) is None, "the LLM may have made a job"
    moved = fallback.after_call(run, GONE, NOW, delay=timedelta(0))
    assert moved is not None and moved.attempts[-1].may_be_billed, "it is nowhere to be found"


def test_no_attempt_begins_elsewhere_that_may_not_be_paid_for_or_is_too_late() -> None:
    run = claimed(max_attempts=1).with_provider_job(NOW, provider_job_id="job-1")
    assert fallback.after_call(run, LlmUnavailable(code="llm_job_failed"), NOW, delay=HOUR) is None
    assert fallback.after_call(claimed(), GONE, NOW + HOUR, delay=HOUR) is None


@pytest.mark.parametrize(("seconds", "moves"), [(10, True), (3, False)])
def test_an_open_breaker_counts_as_overloaded(seconds: int, moves: bool) -> None:
    pause = LlmUnavailable(code="llm_overloaded", retry_after=timedelta(seconds=seconds))
    run = a_run(model=FIRST, deployment="europe", fallbacks=(SPARE,))
    assert (fallback.before_call(run, pause, NOW) is not None) is moves


def test_an_open_breaker_leaves_no_call_of_a_lost_worker() -> None:
    pause = LlmUnavailable(code="llm_overloaded", retry_after=HOUR)
    assert fallback.before_call(claimed(), pause, NOW) is None, "its key may find a job"
    moved = fallback.before_call(claimed(api=LlmApi.OPENAI_CHAT), pause, NOW)
    assert moved is not None
    assert [(attempt.outcome, attempt.may_be_billed) for attempt in moved.attempts] == [("connection_lost", True)]


# --- in the whole system ---


async def put_models(world: World) -> None:
    spare = {**MODELS["demo-chat-model"], "name": "Spare"}
    await world.sqlite.directory.put("models", "spare", spare)
    await world.sqlite.directory.put("models", "demo-model", {**MODELS["demo-model"], "fallback": ["spare"]})


def only_at(model: str | None, fault: Callable[[], Exception]) -> Any:
    async def raise_there(run: Run) -> None:
        if (run.model.id if run.model else run.deployment) == model:
            raise fault()

    return raise_there


async def test_a_job_is_answered_by_the_next_model_and_says_so(world: World) -> None:
    await put_models(world)
    world.llm.during_start = only_at("demo-model", lambda: LlmRefused(code="llm_model_gone"))
    run = await world.submit_job()
    await world.run_for(1)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and done.result is not None and done.result.model_used == "spare"
    shown = views.job_object(done)
    assert (shown["model"]["id"], shown["model_used"]) == ("demo-model", "spare")
    assert views.job_result_object(done)["model_used"] == "spare"
    assert [(a["model"], a["outcome"]) for a in shown["attempts"]] == [
        ("demo-model", "refused"),
        ("spare", "completed"),
    ]
    assert world.llm.submits == {f"{run.id}-1": 1, f"{run.id}-2": 1}


async def test_a_run_of_b_goes_to_the_organizations_next_deployment(world: World) -> None:
    await world.sqlite.directory.put("organizations", "acme", {**ORGANIZATIONS["acme"], "fallback": ["tokyo"]})
    world.llm.during_start = only_at("europe", lambda: LlmUnavailable(code="llm_rate_limited", retry_after=HOUR))
    run = await world.submit()
    await world.run_for(30)
    done = await world.get(run)
    shown = views.user_run_object(done, {"text": "hello"})
    assert (shown["status"], shown["deployment"], shown["model_used"]) == ("completed", "europe", "tokyo")
    assert [attempt["deployment"] for attempt in shown["attempts"]] == ["europe", "tokyo"]


async def test_a_run_that_was_answered_where_it_was_sent_names_no_other_model(world: World) -> None:
    await put_models(world)
    run = await world.submit_job()
    await world.run_for(30)
    done = await world.get(run)
    assert done.result is not None and done.result.model_used is None
    assert "model_used" not in views.job_object(done) and done.requested is None


async def test_short_waits_are_waited_out_and_long_ones_are_not(world: World) -> None:
    await put_models(world)
    world.llm.during_start = only_at("demo-model", lambda: LlmUnavailable(code="llm_overloaded"))
    run = await world.submit_job()
    await world.run_for(10)
    done = await world.get(run)
    retries = [event.detail for event in done.events if event.type == "run.retrying"]
    assert [retry["delay_seconds"] for retry in retries] == [1, 2, 0] and retries[-1]["model"] == "spare"
    assert done.status is Status.COMPLETED


async def test_runs_go_elsewhere_while_the_breaker_of_their_server_is_open(world: World) -> None:
    def keeps_failing(run: Run) -> None:
        if run.model is not None and run.model.id == "demo-model":
            raise LlmUnavailable(code="llm_overloaded", retry_after=timedelta(seconds=40))

    await put_models(world)
    world.llm.during_slot = keeps_failing
    run = await world.submit_job()
    await world.run_for(1)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and views.job_object(done)["model_used"] == "spare"
    assert world.llm.submits == {f"{run.id}-1": 1} and len(done.attempts) == 1, "the first model was never asked"


async def test_without_a_fallback_a_run_waits_while_the_breaker_of_its_server_is_open(world: World) -> None:
    def keeps_failing(run: Run) -> None:
        if world.clock.now() < opens_at:
            raise LlmUnavailable(code="llm_overloaded", retry_after=opens_at - world.clock.now())

    opens_at = world.clock.now() + timedelta(seconds=40)
    world.llm.during_slot = keeps_failing
    run = await world.submit_job()
    await world.run_for(20)
    assert (await world.get(run)).waiting_for == "room"
    await world.run_for(60)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_a_worker_that_dies_after_the_decision_is_followed_by_the_sweeper(world: World) -> None:
    await put_models(world)
    world.llm.during_start = only_at("demo-model", lambda: LlmRefused(code="llm_model_gone"))
    run = await world.submit_job()
    world.paused_queues.update(QUEUES.values())
    await world.deliver()
    turned = await world.get(run)
    assert turned.model is not None and turned.model.id == "spare" and not turned.is_terminal
    await world.lose_everything_under_way()
    world.paused_queues.clear()
    await world.run_for(130, sweeping=True)
    assert (await world.get(run)).status is Status.COMPLETED
    assert world.llm.submits == {f"{run.id}-1": 1, f"{run.id}-2": 1}


async def test_a_lost_answer_to_the_decision_takes_no_second_fallback(world: World) -> None:
    await world.sqlite.directory.put("models", "spare", {**MODELS["demo-chat-model"]})
    await world.sqlite.directory.put("models", "third", {**MODELS["demo-chat-model"]})
    await world.sqlite.directory.put("models", "demo-model", {**MODELS["demo-model"], "fallback": ["spare", "third"]})
    world.llm.during_start = only_at("demo-model", lambda: LlmRefused(code="llm_model_gone"))
    save = world.store.save
    lost: list[str] = []

    async def loses_one_answer(run: Run) -> Run:
        saved = await save(run)
        if run.requested is not None and not lost:
            lost.append(run.id)
            raise StoreUnavailable
        return saved

    object.__setattr__(world.store, "save", loses_one_answer)
    run = await world.submit_job()
    await world.run_for(130, sweeping=True)
    done = await world.get(run)
    assert lost and done.status is Status.COMPLETED and views.job_object(done)["model_used"] == "spare"


async def test_a_record_with_an_unknown_fallback_takes_submits(world: World) -> None:
    await world.sqlite.directory.put("models", "demo-model", {**MODELS["demo-model"], "fallback": ["nowhere"]})
    run = await world.submit_job()
    assert run.fallbacks == ()
    await world.run_for(30)
    assert (await world.get(run)).status is Status.COMPLETED


@pytest.mark.parametrize(
    "record",
    [
        {"name": "Spare"},
        {**MODELS["demo-chat-model"], "enabled": False},
        {**MODELS["demo-chat-model"], "prices": {"input": "cheap"}},
        {**MODELS["demo-chat-model"], "api": "telepathy"},
        {**MODELS["demo-chat-model"], "fallback": ["demo-model"]},
    ],
)
async def test_no_record_of_a_fallback_fails_a_run_that_its_own_model_completes(
    world: World, record: dict[str, Any]
) -> None:
    await world.sqlite.directory.put("models", "spare", record)
    await world.sqlite.directory.put("models", "demo-model", {**MODELS["demo-model"], "fallback": ["spare", "spare"]})
    run = await world.submit_job()
    await world.run_for(30)
    assert (await world.get(run)).status is Status.COMPLETED
    shown = {model.id: model for model in await world.sqlite.directory.models()}
    problems = views.model_object(shown["demo-model"], shown, NOW)["fallback_problems"]
    assert problems and all(problem.startswith("spare ") for problem in problems)


@pytest.mark.parametrize("code", ["llm_credentials", "llm_quota_exhausted", "llm_input_too_long", "llm_model_gone"])
async def test_a_run_comes_back_to_its_own_model_when_no_fallback_takes_it(world: World, code: str) -> None:
    async def busy_at_first(run: Run) -> None:
        assert run.model is not None
        if run.model.id == "spare":
            raise LlmRefused(code=code)
        if world.clock.now() < free_at:
            raise LlmUnavailable(code="llm_overloaded", retry_after=timedelta(seconds=5))

    await put_models(world)
    free_at = world.clock.now() + timedelta(seconds=8)
    world.llm.during_start = busy_at_first
    run = await world.submit_job()
    await world.run_for(40)
    done = await world.get(run)
    assert done.status is Status.COMPLETED and "model_used" not in views.job_object(done)
    assert [attempt.model for attempt in done.attempts] == ["demo-model", "spare", "demo-model"]
    assert done.billed_attempts == 1


async def test_a_cancel_while_a_run_turns_to_its_fallback_wins(world: World) -> None:
    async def cancel_meanwhile(run: Run) -> None:
        if run.model is not None and run.model.id == "demo-model":
            await world.services.cancel(DEMO, run.id)
            raise LlmRefused(code="llm_model_gone")

    await put_models(world)
    world.llm.during_start = cancel_meanwhile
    run = await world.submit_job()
    await world.run_for(30, sweeping=True)
    done = await world.get(run)
    assert done.status is Status.CANCELLED and done.requested is None
    assert world.llm.submits == {f"{run.id}-1": 1}


def test_a_failed_run_names_no_model_that_answered() -> None:
    moved = fallback.after_call(claimed(), GONE, NOW, delay=timedelta(0))
    assert moved is not None
    assert "model_used" not in views.job_object(replace(moved, status=Status.FAILED))
