"""A save on Firestore sends the fields that have changed, and no others."""

from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.gcp.revision import Revision
from shared.domain.frozen import replace
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from tests.contract.runs import NOW, a_run
from tests.google import store_behind_a_proxy
from tests.grpc_proxy import lose_answers

ALWAYS = {"save_id"}


async def test_each_save_of_a_run_sends_what_it_changed(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await store.create(run := a_run(input={"full_input": "x" * 10_000}))
        saves = proxy.saves[f"llm_runs/{run.id}"]
        claimed = await store.save((await store.get(run.id)).claimed(NOW, lease=timedelta(minutes=5)))
        assert saves[0].fields == ALWAYS | {
            "status", "started_at", "attempt", "fence", "due_at", "attempts", "events"
        }  # fmt: skip
        sent = await store.save(claimed.with_provider_job(NOW, provider_job_id="job-1"))
        assert saves[1].fields == ALWAYS | {"provider_job_id", "sent_at", "attempts", "due_at"}
        await store.save(sent.completed(NOW, result=Result(text="done"), usage=Usage(input_tokens=7), checks=1))
        assert saves[2].fields >= ALWAYS | {"status", "result", "metrics", "checks", "completed_at", "due_at"}
        assert not any("input" in save.fields or "model" in save.fields for save in saves)
        assert max(save.size for save in saves) < 2000
        stored = await store.get(run.id)
        assert (stored.input, stored.result, stored.provider_job_id) == (run.input, Result(text="done"), "job-1")


async def test_a_save_after_one_whose_answer_was_lost_sends_what_has_changed_since(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await store.create(run := a_run())
        read = await store.get(run.id)
        proxy.hook = lose_answers("Commit", times=1)
        claimed = await store.save(read.claimed(NOW, lease=timedelta(hours=1)))
        proxy.hook = None
        await store.save(claimed.postponed(NOW + timedelta(hours=2)))
        assert proxy.saves[f"llm_runs/{run.id}"][-1].fields == ALWAYS | {"due_at"}
        assert (await store.get(run.id)).due_at == NOW + timedelta(hours=2)


async def test_a_field_of_a_later_release_stays(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (_, store):
        await store.create(run := a_run())
        await store._reference(run.id).update({"mood": "fine"})
        await store.save((await store.get(run.id)).cancelled(NOW))
        assert (await store._reference(run.id).get()).to_dict()["mood"] == "fine"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (a_run(), lambda run: run.cancelled(NOW)),
        (a_run().claimed(NOW, lease=timedelta(hours=1)), lambda run: run.postponed(None)),
    ],
)
async def test_a_run_whose_document_is_not_known_is_saved_whole(google_emulators: Any, before: Run, after: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await store.create(before)
        read = await store.get(before.id)
        unknown = Revision(read.revision.update_time)
        saved = await store.save(after(replace(read, revision=unknown)))
        assert len(proxy.saves[f"llm_runs/{before.id}"][-1].fields) > 40
        assert saved == await store.get(before.id)
