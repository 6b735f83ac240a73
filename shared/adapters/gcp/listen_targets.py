"""What is watched on a `listen` stream: one document, or the runs of a channel."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from google.cloud.firestore_v1.types import Target

from shared.adapters.gcp.run_store import RUNS, FirestoreRunStore
from shared.adapters.storage.pending_changes import PendingChanges
from shared.domain.channel import OVERLAP, Channel
from shared.domain.run import Run, Status
from shared.errors import RunNotFound, StoreUnavailable

PAGE = 200


class ListenTarget(ABC):
    """A target of a stream, which tells it what it hears."""

    def __init__(self, store: FirestoreRunStore) -> None:
        self._store = store
        self.target_id = 0
        self.resume_token = b""
        self.is_current = False
        self._is_broken = False
        self._changed = asyncio.Event()

    async def next(self, *, timeout: float) -> Run | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (run := self._take()) is None:
                    if self._is_broken:
                        raise StoreUnavailable
                    if not await self._catch_up():
                        await self._changed.wait()
                        self._changed.clear()
        return run if run is None else await self._whole(run)

    async def _whole(self, run: Run) -> Run:
        """A large result is not in the document that the stream brought. What cannot be read now is given again."""
        if run.status is not Status.COMPLETED or run.result is not None:
            return run
        try:
            return await self._store.get(run.id)
        except BaseException:
            self._put_back(run)
            raise

    async def _catch_up(self) -> bool:
        """Whether it had to be read what has happened before the stream says anything."""
        return False

    def on_broken(self) -> None:
        """Nothing will come any more."""
        self._is_broken = True
        self._changed.set()

    @abstractmethod
    def target(self, client: Any) -> Target:
        """Which documents are watched."""

    @abstractmethod
    def on_change(self, run: Run) -> None:
        """A run that is watched is like this now."""

    def on_missing(self) -> None:
        """A document is gone, or no longer among those that are watched."""
        return

    def on_current(self) -> None:
        """All there was has been sent."""
        self.is_current = True

    @abstractmethod
    async def read_anew(self) -> None:
        """Reads what the stream may have missed."""

    @abstractmethod
    def _take(self) -> Run | None:
        """The next state to give."""

    @abstractmethod
    def _put_back(self, run: Run) -> None:
        """It could not be given after all."""


class RunListenTarget(ListenTarget):
    """One document; keeps its newest state only."""

    def __init__(self, store: FirestoreRunStore, run_id: str) -> None:
        super().__init__(store)
        self._run_id = run_id
        self._latest: Run | None = None
        self._missing = False
        self._given: Any = None

    def target(self, client: Any) -> Target:
        path = client.collection(RUNS).document(self._run_id)._document_path
        return Target(documents=Target.DocumentsTarget(documents=[path]))

    def on_change(self, run: Run) -> None:
        """States that come out of order, after a re-read, are dropped."""
        if self._latest is None or run.revision >= self._latest.revision:
            self._latest, self._missing = run, False
            self._changed.set()

    def on_missing(self) -> None:
        self._missing = True
        self._changed.set()

    def on_current(self) -> None:
        """A document that has not come by now is not there."""
        super().on_current()
        if self._latest is None:
            self.on_missing()

    async def read_anew(self) -> None:
        try:
            self.on_change(await self._store.get(self._run_id))
        except RunNotFound:
            self.on_missing()

    def _take(self) -> Run | None:
        if self._missing:
            raise RunNotFound
        if self._latest is None or self._latest.revision == self._given:
            return None
        self._given = self._latest.revision
        return self._latest

    def _put_back(self, run: Run) -> None:
        self._given = None
        self._changed.set()


class ChannelListenTarget(ListenTarget):
    """The runs of a channel that have changed since a moment: first those by now, page by page, then as they change.

    The stream is asked only for what came after, or it would send all of it at once.
    """

    def __init__(
        self,
        store: FirestoreRunStore,
        channel: Channel,
        since: datetime,
        listen: Callable[[ListenTarget], Awaitable[None]],
    ) -> None:
        """`listen` puts this feed on a stream."""
        super().__init__(store)
        self._channel = channel
        self._since = self._asked_since = since
        self._listen = listen
        self._is_caught_up = False
        self._last: Run | None = None
        self._changes = PendingChanges()

    def target(self, client: Any) -> Target:
        """The same query for as long as its resume token is used."""
        if not self.resume_token:
            self._asked_since = self._since
        query = self._store.changes(self._channel, since=self._asked_since)
        parent, _ = client.collection(RUNS)._parent_info()
        return Target(query=Target.QueryTarget(parent=parent, structured_query=query._to_protobuf()))

    def on_change(self, run: Run) -> None:
        self._since = max(self._since, run.updated_at - OVERLAP)
        try:
            if self._changes.add([run]):
                self._changed.set()
        except StoreUnavailable:
            self.on_broken()

    async def read_anew(self) -> None:
        last, since = None, self._since
        while runs := await self._store.changed_runs(self._channel, since=since, after=last, limit=PAGE):
            for run in runs:
                self.on_change(run)
            last = runs[-1]
            if len(runs) < PAGE or self._is_broken:
                return

    async def _catch_up(self) -> bool:
        if self._is_caught_up:
            return False
        runs = await self._store.changed_runs(self._channel, since=self._since, after=self._last, limit=PAGE)
        self._changes.add(runs)
        self._last = runs[-1] if runs else self._last
        if len(runs) < PAGE:
            if self._last is not None:
                self._since = max(self._since, self._last.updated_at - OVERLAP)
            self._is_caught_up = True
            await self._listen(self)
        return True

    def _take(self) -> Run | None:
        return self._changes.take()

    def _put_back(self, run: Run) -> None:
        self._changes.put_back(run)
        self._changed.set()
