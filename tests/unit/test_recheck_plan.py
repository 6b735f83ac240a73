"""The row of re-checks of one run: its bounds, its names, and what an estimate of the LLM may change."""

from datetime import timedelta
from itertools import islice, pairwise, takewhile

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.best_plan import FIRST_PLAN
from shared.domain.frozen import replace
from shared.domain.progress import CheckLater, JobCreated, Running, consequence, plan_of, recheck_of, until_next_check
from shared.domain.recheck_plan import MAX_GAP_SECONDS, RecheckPlan
from shared.domain.status import Service
from tests.contract.runs import NOW, a_run

seconds = st.floats(0, 4000).map(lambda value: timedelta(seconds=value))
chosen = st.lists(st.integers(1, 3000), unique=True, max_size=32).map(lambda values: tuple(sorted(values)))
plans = st.builds(RecheckPlan, chosen=chosen, service=st.sampled_from(Service))


@given(plans)
def test_offsets_rise_and_behind_the_chosen_ones_by_a_bounded_gap(plan: RecheckPlan) -> None:
    row = list(islice(plan.offsets(), len(plan.chosen) + 40))
    assert row[: len(plan.chosen)] == list(plan.chosen) and row[0] >= 1
    gaps = [after - before for before, after in pairwise(row)]
    assert min(gaps) >= 1
    behind = gaps[max(len(plan.chosen) - 1, 0) :]
    assert behind == sorted(behind) and behind[-1] <= MAX_GAP_SECONDS[plan.service]


def test_a_run_of_an_earlier_release_keeps_the_row_that_it_had() -> None:
    row = list(islice(RecheckPlan().offsets(), 60))
    assert row[:13] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22]
    assert row[-1] - row[-2] == 60


@given(plans, seconds)
def test_the_next_check_is_the_first_planned_one_that_is_ahead(plan: RecheckPlan, waited: timedelta) -> None:
    offset = plan.next_offset(waited)
    assert offset > waited.total_seconds()
    assert plan.checks_until(timedelta(seconds=offset)) <= plan.checks_until(waited) + 2


@given(plans, seconds, seconds, seconds)
def test_an_estimate_moves_a_check_within_bounds(
    plan: RecheckPlan, waited: timedelta, eta: timedelta, another: timedelta
) -> None:
    now, planned, offset = waited.total_seconds(), plan.next_offset(waited), plan.next_offset(waited, eta=eta)
    assert offset >= now + 0.5
    assert offset <= max(planned, now + now / 4 + 1), "it costs no more lag than a plan that knows nothing"
    if offset < planned:
        after = plan.next_offset(timedelta(seconds=offset), eta=another)
        assert after >= planned, "estimates that are wrong each time cost twice the checks"
    if offset > planned:
        assert offset in list(islice(plan.offsets(), 5000)), "chains of checks meet again"
        assert offset <= now + eta.total_seconds() + 1


@given(plans, seconds, st.lists(st.tuples(st.floats(0, 1), seconds), min_size=2, max_size=20))
def test_estimates_choose_among_few_offsets(
    plan: RecheckPlan, waited: timedelta, asked: list[tuple[float, timedelta]]
) -> None:
    planned = plan.next_offset(waited)
    before = max((one for one in takewhile(lambda one: one < planned, plan.offsets())), default=0)
    moments = [timedelta(seconds=before + (planned - before) * part) for part, _ in asked]
    found = {plan.next_offset(moment, eta=eta) for moment, (_, eta) in zip(moments, asked, strict=True)}
    assert len({offset for offset in found if before < offset < planned}) <= 4, "whenever and whatever an LLM says"


@given(plans, seconds)
def test_a_task_that_comes_half_a_second_early_does_not_ask_for_itself(plan: RecheckPlan, waited: timedelta) -> None:
    offset = plan.next_offset(waited)
    assert plan.next_offset(timedelta(seconds=offset - 0.49)) > offset


@given(plans, st.integers(1, 20), st.floats(0, 0.4))
def test_a_job_is_taken_to_have_ended_later_than_the_check_before(plan: RecheckPlan, number: int, late: float) -> None:
    row = [0, *islice(plan.offsets(), number)]
    waited = timedelta(seconds=row[number] + late)
    assert plan.last_check_before(waited, checks=number) == row[number - 1]
    assert plan.last_check_before(waited, checks=1) == 0, "the checks between were lost"


@given(chosen, seconds)
def test_whoever_asks_names_the_same_task_for_a_run(plan: tuple[int, ...], waited: timedelta) -> None:
    run = a_run(deadline_at=NOW + timedelta(hours=9)).claimed(NOW, lease=timedelta(0))
    sent = consequence(run, JobCreated(provider_job_id="j", plan=plan), NOW)
    assert isinstance(sent, CheckLater) and sent.changed is not None
    stored = sent.changed
    now = NOW + waited
    by_worker = consequence(stored, Running(), now)
    assert isinstance(by_worker, CheckLater)
    later = now + (timedelta(seconds=plan_of(stored).next_offset(waited)) - waited) / 2
    by_sweeper = later + until_next_check(stored, later)
    if plan_of(stored).next_offset(later - NOW) == plan_of(stored).next_offset(waited):
        names = [recheck_of(stored, at, checks=n) for n, at in enumerate((now + by_worker.delay, by_sweeper))]
        assert replace(names[0], checks=0) == replace(names[1], checks=0)


def test_progress_is_an_estimate_of_the_time_left() -> None:
    run = a_run().claimed(NOW, lease=timedelta(0)).with_provider_job(NOW, provider_job_id="j", plan=(40, 80))
    later = NOW + timedelta(seconds=40)
    for progress, offset in ((None, 80), (0.01, 80), (0.8, 60), (0.6, 70), (0.5, 80)):
        step = consequence(run, Running(progress=progress), later)
        assert isinstance(step, CheckLater) and step.delay == timedelta(seconds=offset - 40)


def test_the_first_plan_is_within_the_bounds_of_every_plan() -> None:
    gaps = [after - before for before, after in pairwise((0, *FIRST_PLAN))]
    assert gaps == sorted(gaps) and gaps[0] == 1 and gaps[-1] == MAX_GAP_SECONDS[Service.STANDARD]
