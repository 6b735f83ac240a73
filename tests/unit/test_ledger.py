"""The simulated LLM's ledger: what it charges for, and that a killed process forgets nothing of it."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.simulator import Simulator
from infra.models import VENDORS

LUNA = VENDORS["openai"]["models"]["gpt-6-luna"]["prices"]


def client(simulator: Simulator) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(simulator.app()), base_url="http://llm")


async def charges(simulator: Simulator) -> list[dict[str, Any]]:
    async with client(simulator) as asking:
        return list((await asking.get("/ledger")).json()["charges"])


def chat(text: str, model: str = "simulator") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


async def test_a_call_is_charged_at_the_prices_of_its_model_under_its_key() -> None:
    simulator = Simulator(seconds=0)
    async with client(simulator) as asking:
        headers = {"Idempotency-Key": "a-run-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        answer = await asking.post("/v1/chat/completions", json=chat("hello", "gpt-6-luna"), headers=headers)
    used = answer.json()["usage"]
    [charge] = await charges(simulator)
    assert (charge["run_id"], charge["trace_id"], charge["model"]) == ("a-run", "a" * 32, "gpt-6-luna")
    cost = used["prompt_tokens"] * LUNA["input"] + used["completion_tokens"] * LUNA["output"]
    assert charge["cost_usd"] == pytest.approx(cost / 1e6, abs=1e-9)


@pytest.mark.parametrize("marker", ["[[refuse]]", "[[fail]]", "[[rate-limit]]"])
async def test_a_call_that_is_refused_costs_nothing(marker: str) -> None:
    simulator = Simulator(seconds=0)
    async with client(simulator) as asking:
        assert (await asking.post("/v1/chat/completions", json=chat(marker))).status_code >= 400
    assert await charges(simulator) == []


async def test_a_call_whose_caller_has_gone_and_whose_process_is_killed_is_charged(tmp_path: Path) -> None:
    simulator = Simulator(path=tmp_path / "simulator.jsonl")
    async with client(simulator) as asking:
        calling = asyncio.create_task(asking.post("/v1/messages", json=chat("[[never]]")))
        while not await charges(simulator):
            await asyncio.sleep(0.001)
        calling.cancel()
    simulator.jobs.close()
    again = Simulator(path=tmp_path / "simulator.jsonl")
    [charge] = await charges(again)
    again.jobs.close()
    assert charge["protocol"] == "anthropic_messages" and charge["cost_usd"] > 0


async def test_a_batch_costs_half() -> None:
    simulator = Simulator(seconds=0)
    params = {"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": "hello"}]}
    async with client(simulator) as asking:
        await asking.post("/v1/messages", json=params)
        requests = [{"custom_id": "a-run-1", "params": params}]
        await asking.post("/v1/messages/batches", json={"requests": requests})
    whole, half = await charges(simulator)
    assert half["cost_usd"] == pytest.approx(whole["cost_usd"] / 2) and half["run_id"] == "a-run"
