"""Live changes, announced to the adapters' own feeds: as SQLite's watcher announces them, or as Firestore's stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.adapters.gcp.listen_targets import ChannelListenTarget, RunListenTarget
from shared.adapters.sqlite.run_watcher import SqliteChannelFeed, SqliteRunFeed
from shared.adapters.storage.readable import readable_runs
from shared.domain.channel import Channel
from shared.domain.run import Run
from tests.simulation.faults import OutageMode
from tests.simulation.history import FaultKind
from tests.simulation.instance import Instance, ProcessDied
from tests.simulation.store import SimulatedRunStore

if TYPE_CHECKING:
    from tests.simulation.world import World

MAX_DELAY = 0.2
SLOW = 20.0
LOOKS_AGAIN_AFTER = 1.0


class ListenedChannel(ChannelListenTarget):
    """Firestore's channel target; `is_listening` once it is on the stream."""

    is_listening = False

    @property
    def channel(self) -> Channel:
        return self._channel

    def begin(self) -> None:
        """Fixes the time from which the stream's query looks, as `target` does."""
        self._query_since = self._since
        self.is_listening = True

    def wants(self, run: Run) -> bool:
        tenant_id = self._channel.tenant_id
        mine = run.channel == self._channel.name and tenant_id in (None, run.tenant_id)
        return mine and self.is_listening and run.updated_at >= self._query_since


Feed = SqliteRunFeed | SqliteChannelFeed | RunListenTarget | ListenedChannel


class ChangeNotifier:
    """Tells every feed of every instance that a run has changed, a moment later."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._feeds: dict[int, tuple[Feed, Instance, str | None]] = {}
        self._numbers = 0

    def add(self, feed: Feed, instance: Instance, run_id: str | None) -> int:
        """Returns the number under which the feed is removed again; `run_id` None is any run."""
        self._numbers += 1
        self._feeds[self._numbers] = (feed, instance, run_id)
        return self._numbers

    def remove(self, number: int) -> None:
        self._feeds.pop(number, None)

    def on_change(self, run_id: str) -> None:
        if not self._feeds:
            return
        outage = self._world.outages.of("watch", self._world.now)
        for number, (_, _, wanted) in self._feeds.items():
            if wanted not in (None, run_id):
                continue
            delay = self._world.random.random() * MAX_DELAY
            if outage is not None:
                self._world.record_fault(None, str(outage), kind=FaultKind.OUTAGE, part="watch")
                delay += self._world.random.random() * SLOW if outage.mode is OutageMode.SLOW else 0.0
                if outage.mode is not OutageMode.SLOW:
                    delay = outage.start + outage.seconds - self._world.now + LOOKS_AGAIN_AFTER
            self._world.loop.call_later(delay, self.tell, number, run_id)

    def tell(self, number: int, run_id: str) -> None:
        """Gives the feed the run as it is by then."""
        feed, instance, _ = self._feeds.get(number, (None, None, None))
        if feed is None or instance is None or instance.is_dead:
            return
        if isinstance(feed, SqliteRunFeed | SqliteChannelFeed):
            feed.changed.set()
            return
        for run in readable_runs([run_id], self.document):
            if isinstance(feed, RunListenTarget) or feed.wants(run):
                feed.on_change(run)

    def document(self, run_id: str) -> Run:
        return self._world.tables.get(run_id, with_result=False)


class InstanceFeed:
    """A feed that ends with its process."""

    def __init__(self, feed: Any, instance: Instance) -> None:
        self._feed = feed
        self._instance = instance

    @property
    def caught_up_at(self) -> float:
        at: float = self._feed.caught_up_at
        return at

    async def next(self, *, timeout: float) -> Run | None:
        run: Run | None = await self._feed.next(timeout=timeout)
        if self._instance.is_dead:
            raise ProcessDied
        await self._instance.thaw()
        return run


class SimulatedRunWatcher:
    """The watcher of one instance."""

    def __init__(self, world: "World", instance: Instance, store: SimulatedRunStore, *, firestore: bool) -> None:
        self._world = world
        self._instance = instance
        self._store: Any = store
        self._firestore = firestore

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[InstanceFeed]:
        feed = RunListenTarget(self._store, run_id) if self._firestore else SqliteRunFeed(self._store, run_id)
        number = self._world.notifier.add(feed, self._instance, run_id)
        if self._firestore:
            delay = self._world.random.random() * MAX_DELAY
            self._world.loop.call_later(delay, self._world.notifier.tell, number, run_id)
        try:
            yield InstanceFeed(feed, self._instance)
        finally:
            self._world.notifier.remove(number)

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator[InstanceFeed]:
        feed: SqliteChannelFeed | ListenedChannel
        if self._firestore:
            feed = ListenedChannel(self._store, channel, since, self._listen)
        else:
            feed = SqliteChannelFeed(self._store, channel, since)
        number = self._world.notifier.add(feed, self._instance, None)
        try:
            yield InstanceFeed(feed, self._instance)
        finally:
            self._world.notifier.remove(number)

    async def _listen(self, feed: Any) -> None:
        """Begins the stream: first come all documents that its query finds now."""
        feed.begin()
        document = self._world.notifier.document
        for run in readable_runs(list(self._world.tables.rows), document):
            if feed.wants(run):
                feed.on_change(run)
