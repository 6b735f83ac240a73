"""Hundreds of streams on one function that is killed and ended: no client misses or repeats an update."""

import asyncio
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.system import System, until
from tests.e2e.test_restarts import functions_over

RUN_STREAMS, CHANNEL_STREAMS = 400, 100
RUNS = 8
KILLS = 3
ENDED_WITHIN_SECONDS = 5.0
CHANNEL = "torture"

Update = dict[str, Any]
"""One event: {id, event, data}."""


class Follower:
    """A client that resumes its stream whenever it breaks; with bare sockets, hundreds take little of the machine."""

    def __init__(self, url: str, token: str, path: str) -> None:
        self.heard: list[Update] = []
        self.connections = 0
        self._address = urlsplit(url)
        self._head = f"GET {path} HTTP/1.1\r\nHost: {self._address.netloc}\r\nAuthorization: Bearer {token}\r\n"

    async def follow(self, *, until: Callable[[list[Update]], bool]) -> list[Update]:
        while not until(self.heard):
            with suppress(OSError, EOFError):
                await self.connect(until=until)
            await asyncio.sleep(random.uniform(0.1, 0.5))
        return self.heard

    async def connect(self, *, until: Callable[[list[Update]], bool]) -> str | None:
        """Reads one connection; returns the type of an event that is no update and ended it."""
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        last = [update["id"] for update in self.heard[-1:]]
        writer.write((self._head + "".join(f"Last-Event-ID: {number}\r\n" for number in last) + "\r\n").encode())
        try:
            status = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in status, status
            self.connections += 1
            while not until(self.heard):
                size = int(await reader.readuntil(b"\r\n"), 16)  # EOFError when the reader was killed
                chunk = (await reader.readexactly(size + 2)).decode()
                fields = dict(line.partition(": ")[::2] for line in chunk.strip().splitlines())
                if size == 0 or fields.get("event") == "error":
                    return fields.get("event")
                if "data" in fields:
                    self.heard.append(fields | {"data": json.loads(fields["data"])})
        finally:
            writer.close()
        return None


def run_is_over(heard: list[Update]) -> bool:
    return bool(heard and heard[-1]["event"] == "run.completed")


def all_runs_are_over(heard: list[Update]) -> bool:
    ends = [update for update in heard if update["event"] == "run.completed"]
    return len(ends) == RUNS


async def follow_all(url: str, token: str, run_ids: list[str]) -> tuple[list[Follower], list[Follower]]:
    """Returns the followers of runs and those of the channel, once all of them have heard of all ends."""
    of_runs = [Follower(url, token, f"/llm_user_runs/{run_ids[number % RUNS]}/stream") for number in range(RUN_STREAMS)]
    of_channel = [Follower(url, token, f"/channels/{CHANNEL}/stream") for _ in range(CHANNEL_STREAMS)]
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for follower in of_runs:
            group.create_task(follower.follow(until=run_is_over))
        for follower in of_channel:
            group.create_task(follower.follow(until=all_runs_are_over))
    return of_runs, of_channel


def sequences(heard: list[Update]) -> dict[str, list[int]]:
    """{run id: the sequences of its updates in the order in which they came}"""
    found: dict[str, list[int]] = defaultdict(list)
    for update in heard:
        found[update["data"]["run_uuid"]].append(update["data"]["sequence"])
    return found


def test_no_client_of_a_reader_that_is_killed_again_and_again_misses_or_repeats_an_update(data_dir: Path) -> None:
    system = System(data_dir)
    with functions_over(data_dir) as functions, ThreadPoolExecutor() as pool, system.client() as client:
        reader = functions.start("read_runs")
        bodies = [{"input_text": f"[[slow {4 + number}]]", "channel": CHANNEL} for number in range(RUNS)]
        run_ids = [client.post("/llm_user_runs", json=body).json()["run_uuid"] for body in bodies]
        url = functions.url("read_runs")
        following = pool.submit(lambda: asyncio.run(follow_all(url, system.token(), run_ids)))
        for _ in range(KILLS):
            time.sleep(1.5)
            reader.kill()
            reader = functions.start("read_runs")
        of_runs, of_channel = following.result()
    for follower in of_runs:
        [found] = sequences(follower.heard).values()
        assert found == list(range(1, len(found) + 1)), "no gap and no repeat"
    whole = {run_id: found for follower in of_runs for run_id, found in sequences(follower.heard).items()}
    assert all(sequences(follower.heard) == whole for follower in of_channel)
    assert max(follower.connections for follower in of_runs) == KILLS + 1
    assert system.stop() == 0


async def read_to_the_end(url: str, token: str, run_id: str, pid: int) -> tuple[list[str | None], list[float]]:
    """Opens streams, sends the process SIGTERM, and returns with which event each ended, and after how many seconds."""
    followers = [Follower(url, token, f"/llm_user_runs/{run_id}/stream") for _ in range(RUN_STREAMS)]
    ends: list[float] = []
    began = 0.0

    async def follow(follower: Follower) -> str | None:
        event = await follower.connect(until=lambda heard: False)
        ends.append(time.monotonic() - began)
        return event

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        following = [group.create_task(follow(follower)) for follower in followers]
        while not all(follower.heard for follower in followers):
            await asyncio.sleep(0.05)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
    return [task.result() for task in following], ends


def test_a_function_that_is_to_end_tells_all_its_streams_at_once_and_ends(data_dir: Path) -> None:
    system = System(data_dir)
    with functions_over(data_dir) as functions, system.client() as client:
        reader = functions.start("read_runs")
        run_id = client.post("/llm_user_runs", json={"input_text": "[[never]]"}).json()["run_uuid"]
        events, ends = asyncio.run(
            read_to_the_end(functions.url("read_runs"), system.token(), run_id, reader.process.pid)
        )
        assert set(events) == {"error"} and max(ends) < ENDED_WITHIN_SECONDS
        until(lambda: reader.process.poll() is not None, seconds=ENDED_WITHIN_SECONDS)
    assert system.stop() == 0
