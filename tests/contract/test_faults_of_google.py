"""A Firestore that refuses calls now and then, and one that comes back as it was before."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import pytest

from infra.local.emulators.google import start_firestore
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import wait_until_listening
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import RunNotFound, StaleRun, TransientError
from tests.contract.runs import NOW, a_run
from tests.google import need_emulators, store_behind_a_proxy
from tests.grpc_proxy import Forward, Hook, Refused, Requests

T = TypeVar("T")
SHARE_OF_REFUSALS = 0.3
REFUSALS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


def refusing_now_and_then(seed: int) -> Hook:
    """Refuses this share of all calls, half of them as unavailable and half as aborted."""
    dice = random.Random(seed)

    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if dice.random() < SHARE_OF_REFUSALS:
            raise Refused(dice.choice(REFUSALS))
        return forward()

    return hook


async def with_patience(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats the call after each TransientError, as Google's services deliver again; other errors are raised."""
    for _ in range(20):
        try:
            return await call()
        except TransientError:
            continue
    raise AssertionError("refused twenty times")


async def test_with_three_of_ten_calls_refused_every_run_is_stored_and_ends(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        proxy.hook = refusing_now_and_then(seed=18)

        async def finished(run: Run) -> Run:
            await with_patience(lambda: store.create(run))

            async def claim() -> Run:
                found = await store.get(run.id)
                return found if found.fence else await store.save(found.claimed(NOW, lease=timedelta(seconds=9)))

            async def complete() -> Run:
                found = await store.get(run.id)
                result = Result(text="done")
                ended = found.completed(NOW, result=result, usage=Usage(), checks=1)
                return found if found.is_terminal else await store.save(ended)

            await with_patience(claim)
            return await with_patience(complete)

        runs = [a_run() for _ in range(20)]
        await asyncio.gather(*[finished(run) for run in runs])
        proxy.hook = None
        stored = [await store.get(run.id) for run in runs]
    assert {(run.status, run.fence) for run in stored} == {(Status.COMPLETED, 1)}


@contextmanager
def own_firestore(folder: Path, host: str, *options: str) -> Iterator[None]:
    started = start_firestore(folder, *options, host=host)
    try:
        wait_until_listening(started)
        yield
    finally:
        started.kill()


def export(host: str, project: str, folder: Path) -> Path:
    """Exports the emulator's documents and returns the file to import."""
    wanted = {"database": f"projects/{project}/databases/(default)", "export_directory": str(folder)}
    url = f"http://{host}/emulator/v1/projects/{project}:export"
    httpx.post(url, json={**wanted, "export_name": "export"}, trust_env=False, timeout=60).raise_for_status()
    [found] = (folder / "export").glob("*.overall_export_metadata")
    return found


@pytest.mark.emulators
async def test_a_firestore_that_is_restored_from_an_export_refuses_saves_of_what_it_lost(tmp_path: Path) -> None:
    need_emulators()
    with reserved_port() as port:
        host, project = f"127.0.0.1:{port}", "demo-restored"
        clients = ClientsByLoop(GoogleEndpoints(project=project, firestore_emulator=host))
        store, kept, lost = FirestoreRunStore(clients), a_run(), a_run()
        with own_firestore(tmp_path, host):
            await with_patience(lambda: store.create(kept))
            exported = export(host, project, tmp_path)
            claimed = await store.save((await store.get(kept.id)).claimed(NOW, lease=timedelta(seconds=9)))
            await store.create(lost)
        with own_firestore(tmp_path, host, f"--import-data={exported}"):
            before = await with_patience(lambda: store.get(kept.id))
            assert (before.status, before.fence) == (Status.PENDING, 0)
            with pytest.raises(StaleRun):
                await store.save(claimed.cancelled(NOW))
            with pytest.raises(RunNotFound):
                await store.get(lost.id)
            await store.save(before.claimed(NOW, lease=timedelta(seconds=9)))
        await clients().close()
