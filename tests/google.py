"""Google's emulators for the tests, started once a session; a laptop without them skips, CI does not."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from infra.local import emulators
from infra.local.emulators import Emulator
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.run_store import FirestoreRunStore
from tests.grpc_proxy import GrpcProxy


def skip_without_emulators() -> None:
    problem = emulators.missing()
    if problem is not None and not os.environ.get("CI"):
        pytest.skip(problem)


@pytest.fixture(scope="session")
def google_emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Emulator]]:
    skip_without_emulators()
    folder = tmp_path_factory.mktemp("emulators")
    started: dict[str, Emulator] = {}
    try:
        started["firestore"] = emulators.start_firestore(folder)
        started["pubsub"] = emulators.start_pubsub(folder, project="demo-tests")
        for emulator in started.values():
            emulators.wait_until_ready(emulator)
        yield started
    finally:
        for emulator in started.values():
            emulator.kill()


def endpoints(started: dict[str, Emulator], *, tasks: str = "127.0.0.1:1") -> GoogleEndpoints:
    """A project of its own: nothing that another test wrote is there."""
    return GoogleEndpoints(
        project=f"demo-{uuid4().hex[:12]}",
        firestore_emulator=started["firestore"].host,
        pubsub_emulator=started["pubsub"].host,
        tasks_emulator=tasks,
    )


@asynccontextmanager
async def store_behind_a_proxy(
    started: dict[str, Emulator], **options: Any
) -> AsyncIterator[tuple[GrpcProxy, FirestoreRunStore]]:
    google = endpoints(started)
    proxy = GrpcProxy(str(google.firestore_emulator))
    clients = ClientsByLoop(replace(google, firestore_emulator=proxy.host))
    try:
        yield proxy, FirestoreRunStore(clients, **options)
    finally:
        await clients().close()
        proxy.close()
