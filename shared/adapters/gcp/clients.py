"""Google's clients: made on first use, after the server's fork, one set for each event loop.

gRPC objects made before a fork hang in the child (github.com/grpc/grpc issues 41725 and 41768), and asyncio channels
belong to the loop that they were made in.
"""

import asyncio
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import AsyncClient
from google.cloud.tasks_v2 import CloudTasksAsyncClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleEndpoints:
    """Whose services to speak to. An emulator's address is host:port; None means Google itself."""

    project: str
    database: str = "(default)"
    firestore_emulator: str | None = None
    pubsub_emulator: str | None = None
    tasks_emulator: str | None = None


class Clients:
    """The clients of one event loop. With an emulator's address they speak to it, without credentials."""

    def __init__(self, endpoints: GoogleEndpoints) -> None:
        self._endpoints = endpoints

    @cached_property
    def firestore(self) -> AsyncClient:
        """The library takes an emulator's address from the environment only; here it is given what settings say."""
        host = self._endpoints.firestore_emulator
        credentials = AnonymousCredentials() if host else None  # type: ignore[no-untyped-call]
        client = AsyncClient(
            project=self._endpoints.project, database=self._endpoints.database, credentials=credentials
        )
        client._emulator_host = host
        return client

    @cached_property
    def publisher(self) -> PublisherAsyncClient:
        """One RPC a message, no batching thread: nothing is left to flush when the response is out."""
        host = self._endpoints.pubsub_emulator
        if host is None:
            return PublisherAsyncClient()
        return PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(host)))

    @cached_property
    def tasks(self) -> CloudTasksAsyncClient:
        host = self._endpoints.tasks_emulator
        if host is None:
            return CloudTasksAsyncClient()
        return CloudTasksAsyncClient(transport=CloudTasksGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(host)))

    async def close(self) -> None:
        """Before its loop ends; channels of a closed loop disturb those of the next."""
        for made in vars(self).values():
            if isinstance(made, AsyncClient):
                await made._firestore_api.transport.close()
            elif isinstance(made, PublisherAsyncClient | CloudTasksAsyncClient):
                await made.transport.close()  # type: ignore[no-untyped-call]


class ClientsByLoop:
    """Called, it gives the running loop's clients."""

    def __init__(self, endpoints: GoogleEndpoints) -> None:
        self._endpoints = endpoints
        self._clients: WeakKeyDictionary[Any, Clients] = WeakKeyDictionary()

    def __call__(self) -> Clients:
        loop = asyncio.get_running_loop()
        clients = self._clients.get(loop)
        if clients is None:
            clients = self._clients[loop] = Clients(self._endpoints)
        return clients
