"""Loads a system with many runs over many connections, and measures what they cost it until all are complete."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from aiohttp import ClientSession

from tests.bench.bench import percentile
from tests.bench.process_tree import cpu_seconds, mebibytes
from tests.bench.systems import Running

RUNS = int(os.environ.get("RUNS", "1000"))
WARM_UP_RUNS = int(os.environ.get("WARM_UP_RUNS", "100"))
"""Runs before those that are measured: they pay for imports and connections, and teach ours how long a job takes."""
CONNECTIONS = int(os.environ.get("CONNECTIONS", "32"))
SETTLE_SECONDS = 1.0
"""How long a system has to save the last results, once the LLM has told it about the end of every job."""
LATEST_SECONDS = 60.0
"""How long the LLM's jobs may wait for a system that reads their end."""
LAST_READ_SECONDS = 5.0
"""How long a run may still need after that before it counts as incomplete."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What so many runs cost. Times of requests and lags are in seconds."""

    submits_per_second: float
    submit_p50: float
    submit_p99: float
    cpu_seconds_per_run: float
    mebibytes: float
    calls_per_run: float
    """Requests to the LLM."""
    duplicates: int
    """Jobs that were submitted to the LLM once more."""
    lag_p50: float
    lag_p99: float
    incomplete: int


async def measure(system: Running, llm_url: str) -> Load:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=LATEST_SECONDS)) as session:
        await submit(system, session, WARM_UP_RUNS)
        assert await until_ended(session, llm_url, WARM_UP_RUNS), "the system has not completed its first runs"
        before, spent = await read(session, f"{llm_url}/stats"), cpu_seconds(system.roots)
        began = time.perf_counter()
        run_ids, latencies = await submit(system, session, RUNS)
        took = time.perf_counter() - began
        await until_ended(session, llm_url, WARM_UP_RUNS + RUNS)
        spent, memory = cpu_seconds(system.roots) - spent, mebibytes(system.roots)
        after, ends = await read(session, f"{llm_url}/stats"), await read(session, f"{llm_url}/ends")
        latest = time.monotonic() + LAST_READ_SECONDS
        completed = await each(run_ids, lambda run_id: completion(system, session, run_id, latest))
    lags = [at - ends[run_id] for run_id, at in zip(run_ids, completed, strict=True) if at is not None]
    return Load(
        submits_per_second=RUNS / took,
        submit_p50=percentile(latencies, 0.5),
        submit_p99=percentile(latencies, 0.99),
        cpu_seconds_per_run=spent / RUNS,
        mebibytes=memory,
        calls_per_run=sum(after[name] - before[name] for name in ("posts", "gets")) / RUNS,
        duplicates=after["duplicates"] - before["duplicates"],
        lag_p50=percentile(lags, 0.5) if lags else float("inf"),
        lag_p99=percentile(lags, 0.99) if lags else float("inf"),
        incomplete=completed.count(None),
    )


async def submit(system: Running, session: ClientSession, runs: int) -> tuple[list[str], list[float]]:
    """Returns the ids of new runs, and how long each of the requests took."""
    latencies = []

    async def one(_: int) -> str:
        began = time.perf_counter()
        run_id = await system.submit(session)
        latencies.append(time.perf_counter() - began)
        return run_id

    return await each(range(runs), one), latencies


async def until_ended(session: ClientSession, llm_url: str, runs: int) -> bool:
    """Waits until a system has read the end of so many jobs, and returns False when it has not done so in time.

    It asks only the LLM, which costs the system nothing.
    """
    latest = time.monotonic() + LATEST_SECONDS
    ended = 0
    while ended < runs and time.monotonic() < latest:
        await asyncio.sleep(0.1)
        ended = (await read(session, f"{llm_url}/stats"))["ended"]
    await asyncio.sleep(SETTLE_SECONDS)
    return ended >= runs


async def completion(system: Running, session: ClientSession, run_id: str, latest: float) -> float | None:
    """Returns when the run was complete; None if it is not complete at the time `latest`, of the monotonic clock."""
    while (at := await system.completed_at(session, run_id)) is None and time.monotonic() < latest:
        await asyncio.sleep(0.1)
    return at


async def read(session: ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        return await answer.json()


async def each(items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Returns the results in the order of the items; CONNECTIONS of them are at work at a time."""
    results: dict[int, R] = {}
    numbered = enumerate(items)

    async def worker() -> None:
        for number, item in numbered:
            results[number] = await work(item)

    await asyncio.gather(*[worker() for _ in range(CONNECTIONS)])
    return [results[number] for number in sorted(results)]
