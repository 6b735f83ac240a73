"""A vendor's key alone makes its models ready to use, and the key is found nowhere but in the environment."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.models import VENDORS
from tests.e2e.system import System, free_port, until

CANARY = "sk-canary9b1e"
URLS = {"openai": "/v1", "anthropic": "", "gemini": "/v1"}


def settings(*vendors: str) -> dict[str, Any]:
    """Returns settings under which these vendors are the simulator."""
    port = free_port()
    keys = {f"{vendor.upper()}_API_KEY": CANARY for vendor in vendors}
    urls = {f"{vendor.upper()}_BASE_URL": f"http://127.0.0.1:{port}{URLS[vendor]}" for vendor in vendors}
    return {**keys, **urls, "LLM_SIM_PORT": str(port), "LLM_SIM_SECONDS": "0.1"}


def completed(client: httpx.Client, model_id: str, **input_data: Any) -> dict[str, Any]:
    job = {"job_type": "general_llm_request", "model_id": model_id, "input_data": {"full_input": "hello", **input_data}}
    accepted = client.post("/api/llm/jobs/submit/", json=job)
    assert accepted.status_code == 200, accepted.text

    def status() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/api/llm/jobs/{accepted.json()['job_id']}/status/").json()
        return found if found["is_complete"] else None

    found: dict[str, Any] = until(status)
    return found


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_key_alone_lists_and_runs_the_models_of_its_vendor_and_is_kept_nowhere(tmp_path: Path) -> None:
    system = System(tmp_path / "data", **settings(*VENDORS))
    try:
        with system.client() as client:
            listed = client.get("/api/llm/models/")
            offered = {model["id"]: model for model in listed.json()["models"]}
            for vendor, given in VENDORS.items():
                for model_id in given["models"]:
                    assert offered[model_id]["enabled"] and offered[model_id]["provider"] == vendor
                    assert offered[model_id]["prices"]["output"] > 0 and offered[model_id]["api"] == given["api"]
                run = completed(client, next(iter(given["models"])), max_output_tokens=1000)
                assert run["status"] == "completed", run
                assert CANARY not in json.dumps(run)
        assert CANARY not in listed.text
    finally:
        system.stop()
    assert CANARY.encode() not in written(tmp_path), "neither in the store, nor in a log, nor in what was printed"


def test_when_the_key_is_gone_its_models_are_disabled(tmp_path: Path) -> None:
    with_key = System(tmp_path / "data", **settings("gemini"))
    with_key.stop()
    without = System(tmp_path / "data")
    try:
        with without.client() as client:
            models = client.get("/api/llm/models/").json()["models"]
            assert {model["id"]: model["enabled"] for model in models}["gemini-3.8-flash"] is False
            job = {"job_type": "general_llm_request", "model_id": "gemini-3.8-flash", "input_data": {"full_input": "x"}}
            refused = client.post("/api/llm/jobs/submit/", json=job)
            assert (refused.status_code, refused.json()["field"]) == (400, "model_id")
    finally:
        without.stop()


@pytest.mark.parametrize("name", ["temperature", "tempreature"])
def test_what_a_model_cannot_take_is_refused_by_name(tmp_path: Path, name: str) -> None:
    system = System(tmp_path / "data", **settings("openai"))
    try:
        with system.client() as client:
            job = {"job_type": "general_llm_request", "model_id": "gpt-6-luna"}
            refused = client.post("/api/llm/jobs/submit/", json={**job, "input_data": {"full_input": "x", name: 1}})
            assert (refused.status_code, refused.json()["field"]) == (400, name)
    finally:
        system.stop()
