"""What works behind Firebase Hosting: answers that are whole within a minute, and no stream before its end."""

from pathlib import Path

from tests.e2e.system import System, updates


def test_behind_hosting_json_and_waits_work_and_streams_come_at_their_end(data_dir: Path) -> None:
    system = System(data_dir, "--front", "hosting", LLM_SIM_SECONDS="1")
    with system.client() as client:
        waited = client.post("/llm_user_runs", json={"input_text": "hello"}, headers={"Prefer": "wait=30"})
        assert waited.json()["status"] == "completed"
        shown = client.get(f"/llm_user_runs/{waited.json()['run_uuid']}")
        assert shown.json()["result"] and shown.headers["etag"]
        assert client.get("/openapi.json").status_code == 200
        body = {"text": "hello", "source_lang": "en", "target_lang": "de"}
        with client.stream("POST", "/llm_user_runs_admin", json=body) as answer:
            events = updates(answer)
            first = next(events)
            with system.client() as another:
                run = another.get(f"/llm_user_runs/{first['data']['run_uuid']}").json()
            assert run["status"] == "completed", "the first update comes when the run has ended"
            assert [first["event"], *(event["event"] for event in events)][-1] == "run.completed"
    assert system.stop() == 0
