"""Accepting runs: what the directory adds, lineage, idempotency, and that a refusal leaves nothing behind."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain import submission
from shared.domain.channel import Channel
from shared.domain.progress import BROKEN
from shared.domain.run import Run
from shared.errors import CallerError, Forbidden, IdempotencyConflict, InvalidRequest, RunNotFound, StoreUnavailable
from shared.ports import RunFeed
from shared.usecases.submit import IdempotencyKey
from shared.usecases.watch import WatchRun
from shared.web.submissions import wait_and_answer
from tests.unit.world import DEMO, OTHER, World

ADMIN_RUN = {"text": "hello", "source_lang": "en", "target_lang": "fr"}


async def submit_admin(world: World, **body: Any) -> Run:
    run, _ = await world.services.submit(DEMO, submission.admin_run({**ADMIN_RUN, **body}))
    return run


async def test_fields_that_a_submission_leaves_out_come_from_the_organization(world: World) -> None:
    run = await submit_admin(world)
    assert (run.organization_id, run.deployment, run.phrase_client_id) == ("acme", "europe", "pc-acme")
    assert (run.style_guide, run.channel, run.source_lang, run.target_lang) == ("acme-default", "user:demo", "en", "fr")


async def test_fields_of_a_submission_go_before_those_of_the_organization(world: World) -> None:
    run = await submit_admin(
        world,
        phrase_clients_id="pc-acme-legal",
        style_guide="formal",
        channel="desk",
        reference_file_ids=["file-1"],
    )
    assert (run.phrase_client_id, run.style_guide, run.channel, run.reference_file_ids) == (
        "pc-acme-legal",
        "formal",
        "desk",
        ("file-1",),
    )


@pytest.mark.parametrize(
    ("field", "value"), [("phrase_clients_id", "pc-globex"), ("reference_file_ids", ["file-1", "file-of-globex"])]
)
async def test_a_phrase_client_or_file_of_another_organization_is_forbidden_by_name(
    world: World, field: str, value: object
) -> None:
    with pytest.raises(Forbidden) as refusal:
        await submit_admin(world, **{field: value})
    assert refusal.value.field == field
    assert not world.store.writes


async def test_an_end_client_sets_the_organization_and_takes_what_it_lacks_from_its_parent(world: World) -> None:
    run = await world.submit(end_client_id="acme-client")
    own = await world.submit(end_client_id="acme")
    assert (run.organization_id, run.phrase_client_id, run.target_lang) == ("acme-client", "pc-acme", "de")
    assert own.organization_id == "acme"


@pytest.mark.parametrize("end_client_id", ["globex", "nobody"])
async def test_an_end_client_of_somebody_else_is_forbidden(world: World, end_client_id: str) -> None:
    with pytest.raises(Forbidden):
        await world.submit(end_client_id=end_client_id)
    assert not world.store.writes


class BrokenWatcher:
    def watch(self, run_id: str) -> AbstractAsyncContextManager[RunFeed]:
        raise StoreUnavailable

    def watch_channel(self, channel: Channel, *, since: datetime) -> AbstractAsyncContextManager[RunFeed]:
        raise StoreUnavailable


async def test_an_accepted_run_that_cannot_be_read_back_is_answered_with_its_id(world: World) -> None:
    run = await world.submit()
    world.services.watch = WatchRun(watcher=BrokenWatcher())
    answer = await wait_and_answer(world.services, run, timedelta(seconds=5), {"Idempotency-Status": "replayed"})
    body = json.loads(bytes(answer.body))
    assert answer.status_code == 200 and body["run_uuid"] == run.id
    assert answer.headers["location"] == body["urls"]["self"] and answer.headers["idempotency-status"] == "replayed"


async def test_a_chain_of_re_runs_keeps_its_root(world: World) -> None:
    first = await submit_admin(world)
    second = await world.submit(prior_run_uuid=first.id)
    third = await world.submit(prior_run_uuid=second.id)
    assert (first.root_run_id, first.prior_run_id) == (first.id, None)
    assert (third.root_run_id, third.prior_run_id) == (first.id, second.id)
    assert third.target_lang == "fr", "a re-run without languages takes those of the run before it"


async def test_the_llm_learns_the_job_of_the_run_before(world: World) -> None:
    first = await world.submit()
    await world.run_for(30)
    second = await world.submit(prior_run_uuid=first.id)
    assert second.prior_provider_job_id == f"job-{first.id}-1"


async def test_a_run_of_somebody_else_is_no_prior_run(world: World) -> None:
    theirs, _ = await world.services.submit(OTHER, submission.user_run({"input_text": "hi"}))
    with pytest.raises(RunNotFound) as refused:
        await world.submit(prior_run_uuid=theirs.id)
    assert refused.value.field == "prior_run_uuid"
    assert set(world.store.writes) == {theirs.id}


async def test_an_unknown_or_disabled_model_is_refused_by_name_of_the_field(world: World) -> None:
    await world.sqlite.directory.put(
        "models",
        "off",
        {"name": "Off", "provider": "x", "api": "llm_jobs", "upstream_model": "x", "enabled": False},
    )
    for model_id in ("nothing", "off"):
        with pytest.raises(InvalidRequest) as refused:
            await world.submit_job(model_id=model_id)
        assert refused.value.field == "model_id"


async def test_the_same_key_gives_the_same_run_even_in_a_crowd(world: World) -> None:
    key = IdempotencyKey(key_hash="k", body_hash="b")
    wanted = submission.user_run({"input_text": "hello"})
    answers = await asyncio.gather(*[world.services.submit(DEMO, wanted, key=key) for _ in range(50)])
    listed = await world.sqlite.database.read(
        lambda connection: connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    )
    assert len({run.id for run, _ in answers}) == 1 and listed == 1
    assert [replayed for _, replayed in answers].count(False) == 1


async def test_the_same_key_with_another_body_is_a_conflict(world: World) -> None:
    wanted = submission.user_run({"input_text": "hello"})
    await world.services.submit(DEMO, wanted, key=IdempotencyKey(key_hash="k", body_hash="b"))
    with pytest.raises(IdempotencyConflict):
        await world.services.submit(DEMO, wanted, key=IdempotencyKey(key_hash="k", body_hash="other"))


async def test_a_key_is_free_again_after_a_day_or_a_failure(world: World) -> None:
    wanted, key = submission.user_run({"input_text": "hello"}), IdempotencyKey(key_hash="k", body_hash="b")
    first, _ = await world.services.submit(DEMO, wanted, key=key)
    stored = await world.get(first)
    await world.store.save(stored.failed(world.clock.now(), error=BROKEN))
    second, replayed = await world.services.submit(DEMO, wanted, key=key)
    assert second.id != first.id and not replayed
    world.clock.forward(24 * 3600 - 1)
    assert (await world.services.submit(DEMO, wanted, key=key))[1]
    world.clock.forward(2)
    assert not (await world.services.submit(DEMO, wanted, key=key))[1]


async def test_another_users_run_is_not_there(world: World) -> None:
    run = await world.submit()
    for refused in (world.services.read.get(OTHER, run.id), world.services.cancel(OTHER, run.id)):
        with pytest.raises(RunNotFound):
            await refused


async def test_a_run_past_its_retention_is_not_there(world: World) -> None:
    run = await world.submit()
    world.clock.forward(31 * 86400)
    with pytest.raises(CallerError):
        await world.services.read.get(DEMO, run.id)


async def test_large_input_is_kept_in_parts_and_reaches_the_llm_whole(world: World) -> None:
    text = "ü" * 400_000
    run = await world.submit_job(input_data={"full_input": text})
    stored = await world.get(run)
    assert stored.input == {} and stored.input_parts > 1
    assert await world.sqlite.store.load_input(stored) == {"full_input": text}


async def test_a_run_can_be_linked_to_a_deleted_one_and_not_to_one_past_its_retention(world: World) -> None:
    first = await world.submit()
    await world.services.cancel(DEMO, first.id)
    await world.services.delete(DEMO, first.id)
    world.clock.time = first.expires_at - timedelta(seconds=1)
    assert (await world.submit(prior_run_uuid=first.id)).prior_run_id == first.id
    world.clock.forward(1)
    with pytest.raises(RunNotFound) as refused:
        await world.submit(prior_run_uuid=first.id)
    assert refused.value.field == "prior_run_uuid"
