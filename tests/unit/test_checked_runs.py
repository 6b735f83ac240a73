"""Finished translations carry what the checks found; jobs do not."""

from shared.domain import views
from shared.domain.status import Status
from tests.unit.world import World


async def test_a_finished_translation_shows_its_checks(world: World) -> None:
    world.llm.says = "Bitte zahlen Sie die Rechnung 4711 bis morgen."
    run = await world.submit(input_text="Please pay invoice 4712 until tomorrow.")
    await world.run_for(10)
    done = await world.get(run)
    shown = views.user_run_object(done, done.input)["checks"]
    assert [check["check"] for check in shown if not check["ok"]] == ["numbers"]
    assert {"check": "terms", "source": "invoice", "target": "Rechnung"}.items() <= shown[0].items() and shown[0]["ok"]


async def test_an_open_run_and_a_job_show_no_checks(world: World) -> None:
    run, job = await world.submit(), await world.submit_job(model_id="demo-chat-model")
    assert "checks" not in views.user_run_object(await world.get(run), {})
    await world.run_for(10)
    done = await world.get(job)
    assert done.status is Status.COMPLETED and done.result is not None and done.result.checks == ()


async def test_a_run_keeps_the_terms_that_its_organization_required_when_it_was_submitted(world: World) -> None:
    run = await world.submit(input_text="Our CUSTOMERS pay.")
    assert run.terms == ({"source": "customer", "target": "Kunde"},)
    assert (await world.submit(input_text="Our guests pay.")).terms == ()
