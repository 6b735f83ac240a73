"""Measures whether the embedded system grows slower as it fills: `make bench ONLY=growth` (ROUNDS, SIZES=1000,100000).

Each round begins with a copy of a file that has so many runs of one user, finished or open. The table has the median
and the range of the rounds, and how the median compares with that of the smallest file. The sweeper reads an eighth of
the open runs in each pass, so its passes alone may grow with these.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from itertools import product
from pathlib import Path
from statistics import median

import aiohttp
import httpx

from tests.bench.bench import cpu_seconds
from tests.bench.filling import fill
from tests.e2e.system import System
from tests.unit.world import World

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SIZES = [int(size) for size in os.environ.get("SIZES", "1000,10000,100000").split(",")]
STATES = {"finished": False, "open": True}
SUBMITS, CONNECTIONS, READS = 1000, 32, 100
LIST, FILTERED = "/llm_user_runs?limit=20", "/api/llm/jobs/?limit=20&status=failed&question_id=q-5"
NEVER = "3600"
QUIET = {"SWEEP_SECONDS": NEVER, "LLM_SIM_SECONDS": NEVER, "MAX_OPEN_RUNS": "0"}
"""Nothing but the measured requests happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Holds what one round has measured; all but the first in milliseconds."""

    submits_a_second: float
    status: float
    list: float
    filtered_list: float
    sweep: float


MEASURES = {
    "submits a second": "submits_a_second",
    "status, ms": "status",
    "list, ms": "list",
    "filtered list, ms": "filtered_list",
    "pass of the sweeper, ms": "sweep",
}


def main() -> None:
    print(f"\nas the file fills: median (least to most) of {ROUNDS} rounds, and against {SIZES[0]:,} runs of the state")
    with tempfile.TemporaryDirectory() as folder:
        files = filled(Path(folder))
        rounds: dict[tuple[str, int], list[Round]] = {key: [] for key in files}
        for number, (key, file) in product(range(ROUNDS), files.items()):
            rounds[key].append(measured(file, Path(folder) / f"{key[0]}-{key[1]}-{number}"))
    for state, measure in product(STATES, MEASURES):
        cells = (cell(state, size, MEASURES[measure], rounds) for size in SIZES)
        print(f"{state:<9} {measure:<24} {'  '.join(f'{text:>34}' for text in cells)}", flush=True)


def filled(folder: Path) -> dict[tuple[str, int], Path]:
    """Returns {(state, number of runs): a database file with them}."""
    files = {(state, size): folder / f"{state}-{size}.db" for state, size in product(STATES, SIZES)}
    for (state, size), file in files.items():
        asyncio.run(fill(file, size, is_open=STATES[state]))
    return files


def measured(file: Path, data: Path) -> Round:
    data.mkdir()
    shutil.copy(file, data / "runs.db")
    system = System(data, env_file=None, **QUIET)
    try:
        wait_until_idle(system)  # the first pass of the sweeper is over
        with system.client() as client:
            ids = [run["run_uuid"] for run in client.get("/llm_user_runs?limit=100").json()["runs"]]
            status = milliseconds(lambda: client.get(f"/llm_user_runs/{ids[0]}"))
            listed = milliseconds(lambda: client.get(LIST))
            filtered = milliseconds(lambda: client.get(FILTERED))
        submits = asyncio.run(submits_a_second(system))
    finally:
        system.stop()
    shutil.copy(file, data / "swept.db")
    with redirect_stdout(StringIO()):  # the sweeper logs each pass
        sweep = asyncio.run(sweep_milliseconds(data / "swept.db"))
    shutil.rmtree(data)
    return Round(submits_a_second=submits, status=status, list=listed, filtered_list=filtered, sweep=sweep)


def wait_until_idle(system: System) -> None:
    """Returns when the system has used less than a tenth of a core for half a second."""
    spent = cpu_seconds(system)
    while True:
        time.sleep(0.5)
        before, spent = spent, cpu_seconds(system)
        if spent - before < 0.05:
            return


def milliseconds(request: Callable[[], httpx.Response]) -> float:
    """Returns the median of READS requests after one that warms the connection up."""
    times: list[float] = []
    for _ in range(READS + 1):
        began = time.perf_counter()
        request().raise_for_status()
        times.append((time.perf_counter() - began) * 1e3)
    return median(times[1:])


async def submits_a_second(system: System) -> float:
    headers = {"Authorization": f"Bearer {system.token()}"}
    work = iter(range(SUBMITS))
    async with aiohttp.ClientSession(system.url, headers=headers) as client:

        async def submitter() -> None:
            for _ in work:
                async with client.post("/llm_user_runs", json={"input_text": "hello world " * 20}) as answer:
                    answer.raise_for_status()
                    await answer.read()

        began = time.perf_counter()
        await asyncio.gather(*[submitter() for _ in range(CONNECTIONS)])
        return SUBMITS / (time.perf_counter() - began)


async def sweep_milliseconds(file: Path) -> float:
    """Returns the median of one pass for each shard, which patrols an eighth of the open runs."""
    times: list[float] = []
    async with World(path=file) as world:
        world.clock.time = datetime.now(UTC)
        for _ in range(8):
            began = time.perf_counter()
            await world.services.sweep()
            times.append((time.perf_counter() - began) * 1e3)
            world.clock.forward(world.settings.sweep_interval.total_seconds())
    return median(times)


def cell(state: str, size: int, measure: str, rounds: dict[tuple[str, int], list[Round]]) -> str:
    values = of(rounds[state, size], measure)
    change = median(values) / median(of(rounds[state, SIZES[0]], measure))
    return f"{size:,}: {median(values):.1f} ({min(values):.1f} to {max(values):.1f}) ×{change:.2f}"


def of(rounds: Iterable[Round], measure: str) -> list[float]:
    return [getattr(each, measure) for each in rounds]


if __name__ == "__main__":
    main()
