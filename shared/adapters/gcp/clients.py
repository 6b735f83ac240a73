"""Creates Google's clients on first use, after the server's fork, with one set of clients for each event loop.

gRPC objects that exist before a fork hang in the child process (github.com/grpc/grpc issues 41725 and 41768). An
asyncio channel works only in the event loop that created it.

Each client's library is imported with its client: importing it takes about 0.1 s, and most functions need one or two.
"""

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from msgspec import Struct

if TYPE_CHECKING:
    from google.cloud.firestore import AsyncClient
    from google.cloud.tasks_v2 import CloudTasksAsyncClient
    from google.pubsub_v1 import PublisherAsyncClient


class GoogleEndpoints(Struct, frozen=True, kw_only=True):
    """The project and the servers that the clients use.

    An emulator's address has the form host:port; None means Google's own service.
    """

    project: str
    database: str = "(default)"
    firestore_emulator: str | None = None
    pubsub_emulator: str | None = None
    tasks_emulator: str | None = None


class Clients:
    """The clients of one event loop. A client of an emulator uses no credentials."""

    def __init__(self, endpoints: GoogleEndpoints) -> None:
        self._endpoints = endpoints

    @cached_property
    def firestore(self) -> "AsyncClient":
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.firestore import AsyncClient

        host = self._endpoints.firestore_emulator
        credentials = AnonymousCredentials() if host else None
        client = AsyncClient(
            project=self._endpoints.project, database=self._endpoints.database, credentials=credentials
        )
        client._emulator_host = host  # the library itself reads it from the environment only, not from our settings
        return client

    @cached_property
    def publisher(self) -> "PublisherAsyncClient":
        """Sends each message in an RPC of its own, without a batching thread: no message waits after the response."""
        from google.pubsub_v1 import PublisherAsyncClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
        from grpc.aio import insecure_channel

        host = self._endpoints.pubsub_emulator
        if host is None:
            return PublisherAsyncClient()
        return PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=insecure_channel(host)))

    @cached_property
    def tasks(self) -> "CloudTasksAsyncClient":
        from google.cloud.tasks_v2 import CloudTasksAsyncClient
        from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
        from grpc.aio import insecure_channel

        host = self._endpoints.tasks_emulator
        if host is None:
            return CloudTasksAsyncClient()
        return CloudTasksAsyncClient(transport=CloudTasksGrpcAsyncIOTransport(channel=insecure_channel(host)))

    async def close(self) -> None:
        """Closes the channels of all clients that were used.

        Call it before the event loop ends: open channels of a closed loop disturb the channels of the next loop.
        """
        used = vars(self)
        if "firestore" in used:
            await self.firestore._firestore_api.transport.close()
        if "publisher" in used:
            await self.publisher.transport.close()  # type: ignore[no-untyped-call]
        if "tasks" in used:
            await self.tasks.transport.close()  # type: ignore[no-untyped-call]


class ClientsByLoop:
    """Calling it returns the clients of the running event loop; they are created on the loop's first call."""

    def __init__(self, endpoints: GoogleEndpoints) -> None:
        self._endpoints = endpoints
        self._clients: WeakKeyDictionary[Any, Clients] = WeakKeyDictionary()

    def __call__(self) -> Clients:
        loop = asyncio.get_running_loop()
        clients = self._clients.get(loop)
        if clients is None:
            clients = self._clients[loop] = Clients(self._endpoints)
        return clients
