"""Defines what a `listen` stream watches: the document of one run, or the runs of one channel.

A target is also the feed (shared/ports/runs.py) that hands the changes to its reader.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from math import inf
from typing import Any

from google.cloud.firestore_v1.types import Target

from shared.adapters.gcp.run_store import RUNS, FirestoreRunStore
from shared.adapters.storage.pending_changes import PendingChanges
from shared.domain.channel import OVERLAP, Channel
from shared.domain.run import Run
from shared.errors import RunNotFound, StoreUnavailable
from shared.ports import RunPosition

PAGE_SIZE = 200


class ListenTarget(ABC):
    """A target of a stream. The stream calls the `on_…` methods; the reader calls `next`."""

    def __init__(self, store: FirestoreRunStore) -> None:
        self._store = store
        self.target_id = 0
        self.resume_token = b""
        """Firestore sends only later changes to a target with a token; without one it sends all documents."""
        self.is_current = False
        self.caught_up_at = -inf
        self._is_broken = False
        self._changed = asyncio.Event()

    async def next(self, *, timeout: float) -> Run | None:
        """Returns the next changed run; None when no run changes within `timeout` seconds.

        Raises StoreUnavailable when changes were lost or cannot be read, and RunNotFound when the watched run does not
        exist.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._next_change()
        except TimeoutError:
            return None

    async def _next_change(self) -> Run:
        while (run := self._pop()) is None:
            if self._is_broken:
                raise StoreUnavailable
            if not await self._read_earlier_changes():
                if self.is_current and not self._changed.is_set():
                    self.caught_up_at = asyncio.get_running_loop().time()
                await self._changed.wait()
                self._changed.clear()
        return run

    async def _read_earlier_changes(self) -> bool:
        """Reads one page of the changes before the stream's first; returns False when there are none left."""
        return False

    def on_broken(self) -> None:
        """The stream sends nothing more: `next` raises StoreUnavailable from now on."""
        self._is_broken = True
        self._changed.set()

    @abstractmethod
    def to_proto(self, client: Any) -> Target:
        """Returns Firestore's description of the watched documents. The stream adds target id and resume token."""

    @abstractmethod
    def on_change(self, run: Run) -> None:
        """The stream has sent a new state of a watched run."""

    def on_missing(self) -> None:
        """A document was deleted or no longer matches the target."""
        return

    def on_current(self) -> None:
        """The stream has sent all documents that matched the target when it started."""
        self.is_current = True

    def on_lost(self) -> None:
        """The stream has ended, and may have lost changes before."""
        self.is_current = False
        self.caught_up_at = -inf

    @abstractmethod
    async def refresh(self) -> None:
        """Reads from the store the changes that a broken stream may have missed. Raises StoreUnavailable."""

    @abstractmethod
    def _pop(self) -> Run | None:
        """Returns the next state to deliver; None when there is none."""


class RunListenTarget(ListenTarget):
    """Watches the document of one run and keeps only its newest state."""

    def __init__(self, store: FirestoreRunStore, run_id: str) -> None:
        super().__init__(store)
        self._run_id = run_id
        self._latest: Run | None = None
        self._is_missing = False
        self._delivered_revision: Any = None

    async def next(self, *, timeout: float) -> Run | None:
        """Returns the run with its result, as `ListenTarget.next` does."""
        run = await super().next(timeout=timeout)
        return run if run is None or not run.lacks_result else await self._with_result(run)

    async def _with_result(self, run: Run) -> Run:
        """Reads a large result from its parts, because the stream sends the run's document only.

        When that fails, the next call of `next` tries again.
        """
        try:
            return await self._store.get(run.id)
        except BaseException:
            self._delivered_revision = None
            self._changed.set()
            raise

    def to_proto(self, client: Any) -> Target:
        path = client.collection(RUNS).document(self._run_id)._document_path
        return Target(documents=Target.DocumentsTarget(documents=[path]))

    def on_change(self, run: Run) -> None:
        """Keeps the state unless a newer one is known: after a refresh the stream may send older states."""
        if self._latest is None or run.revision >= self._latest.revision:
            self._latest, self._is_missing = run, False
            self._changed.set()

    def on_missing(self) -> None:
        self._is_missing = True
        self._changed.set()

    def on_current(self) -> None:
        """A document that the stream has not sent by now does not exist."""
        super().on_current()
        if self._latest is None:
            self.on_missing()

    async def refresh(self) -> None:
        try:
            self.on_change(await self._store.get(self._run_id))
        except RunNotFound:
            self.on_missing()

    def _pop(self) -> Run | None:
        if self._is_missing:
            raise RunNotFound
        if self._latest is None or self._latest.revision == self._delivered_revision:
            return None
        self._delivered_revision = self._latest.revision
        return self._latest


class ChannelListenTarget(ListenTarget):
    """Watches the runs of a channel: first reads earlier changes from the store page by page, then listens.

    The stream starts where the pages end, because it would send all earlier changes at once.
    """

    def __init__(
        self,
        store: FirestoreRunStore,
        channel: Channel,
        since: datetime,
        start_listening: Callable[[ListenTarget], Awaitable[None]],
    ) -> None:
        """`start_listening` adds this target to a stream; it is called once, after the last page."""
        super().__init__(store)
        self._channel = channel
        self._since = self._query_since = since
        self._start_listening = start_listening
        self._is_listening = False
        self._last_read: RunPosition | None = None
        """The last position of the last page; the next page starts after it."""
        self._changes = PendingChanges()

    def to_proto(self, client: Any) -> Target:
        """Describes the channel's query. A resume token fits only the query that it came with, so the start time of the
        query stays the same while there is a token.
        """
        if not self.resume_token:
            self._query_since = self._since
        query = self._store.changes_query(self._channel, since=self._query_since)
        parent, _ = client.collection(RUNS)._parent_info()
        return Target(query=Target.QueryTarget(parent=parent, structured_query=query._to_protobuf()))

    def on_change(self, run: Run) -> None:
        self._since = max(self._since, run.updated_at - OVERLAP)
        try:
            if self._changes.add([run]):
                self._changed.set()
        except StoreUnavailable:
            self.on_broken()

    async def refresh(self) -> None:
        last_read: RunPosition | None = None
        since = self._since
        while not self._is_broken:
            page = await self._store.changed_runs(self._channel, since=since, after=last_read, limit=PAGE_SIZE)
            for run in page.runs:
                self.on_change(run)
            if len(page.positions) < PAGE_SIZE:
                return
            last_read = page.positions[-1]

    async def _read_earlier_changes(self) -> bool:
        if self._is_listening:
            return False
        page = await self._store.changed_runs(self._channel, since=self._since, after=self._last_read, limit=PAGE_SIZE)
        self._changes.add(page.runs)
        self._last_read = page.positions[-1] if page.positions else self._last_read
        if len(page.positions) < PAGE_SIZE:
            if self._last_read is not None:
                self._since = max(self._since, self._last_read.at - OVERLAP)
            self._is_listening = True
            await self._start_listening(self)
        return True

    def _pop(self) -> Run | None:
        return self._changes.pop()
