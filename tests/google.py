"""Google's emulators for the tests: one pair for all workers."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from msgspec import Struct

from infra.local.emulators.google import missing_software, start_firestore, start_pubsub
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.processes import wait_until_listening
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.domain.frozen import replace
from tests.grpc_proxy import GrpcProxy
from tests.needs import need
from tests.workers import SharedFolder, SharedServers


class GoogleEmulators(Struct, frozen=True, kw_only=True):
    """Each as host:port."""

    firestore: str
    pubsub: str


def need_emulators() -> None:
    need(missing_software())


@pytest.fixture(scope="session")
def google_emulators(shared_folder: SharedFolder) -> GoogleEmulators:
    need_emulators()

    def start() -> SharedServers:
        with ExitStack() as stack:
            hosts = [f"127.0.0.1:{stack.enter_context(reserved_port())}" for _ in range(2)]
            started = [
                start_firestore(shared_folder.path, host=hosts[0]),
                start_pubsub(shared_folder.path, host=hosts[1], project="demo-tests"),
            ]
            for emulator in started:
                wait_until_listening(emulator)
        return SharedServers(
            hosts={emulator.name: emulator.host for emulator in started},
            processes=[emulator.process for emulator in started],
        )

    return GoogleEmulators(**shared_folder.start_once("google", start))


def endpoints(google: GoogleEmulators, *, tasks: str = "127.0.0.1:1") -> GoogleEndpoints:
    """A project of its own: nothing that another test wrote is there."""
    return GoogleEndpoints(
        project=f"demo-{uuid4().hex[:12]}",
        firestore_emulator=google.firestore,
        pubsub_emulator=google.pubsub,
        tasks_emulator=tasks,
    )


@asynccontextmanager
async def store_behind_a_proxy(
    emulators: GoogleEmulators, **options: Any
) -> AsyncIterator[tuple[GrpcProxy, FirestoreRunStore]]:
    google = endpoints(emulators)
    proxy = GrpcProxy(str(google.firestore_emulator))
    clients = ClientsByLoop(replace(google, firestore_emulator=proxy.host))
    try:
        yield proxy, FirestoreRunStore(clients, **options)
    finally:
        await clients().close()
        proxy.close()
