"""One run is one trace, from the client's request through the functions to the LLM."""

import json
from secrets import token_hex
from typing import Any

from tests.e2e.system import System, until


def test_one_trace_goes_from_the_request_through_message_and_task_to_the_llm(system: System) -> None:
    trace_id = token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{token_hex(8)}-01", "Accept": "application/json"}
    with system.client() as client:
        accepted = client.post("/llm_user_runs", json={"input_text": "hello"}, headers=headers).json()
        run_id = accepted["run_uuid"]

        def is_complete() -> bool:
            return bool(client.get(f"/llm_user_runs/{run_id}", headers=headers).json()["is_complete"])

        until(is_complete)
        assert client.get("/llm_user_runs/x", headers=headers).status_code == 404

    def traced_lines() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in system.log().splitlines()]
        return [line for line in lines if line.get("logging.googleapis.com/trace", "").endswith(trace_id)]

    expected = {"run accepted", "run completed", "request refused"}
    until(lambda: expected <= {line["message"] for line in traced_lines()})
    traced = traced_lines()
    assert len({line["logging.googleapis.com/spanId"] for line in traced}) >= 3
    [call] = [job for job in system.simulator_jobs() if (job["body"] or {}).get("run_uuid") == run_id]
    assert call["traceparent"].split("-")[1] == trace_id
