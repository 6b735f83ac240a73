"""Live changes of runs in Firestore: many targets on one `listen` stream, by the async client.

The library's own `on_snapshot` exists in the sync client only, takes two threads for each watch, and dies silently when
a callback raises. Here a stream carries up to 100 targets. When it breaks, or says nothing for a while, it is opened
again, each target where it left off (resume tokens); what is watched is then read anew.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from google.api_core.exceptions import GoogleAPIError, InvalidArgument, ServiceUnavailable
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import ListenRequest, TargetChange

from shared import log
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.document import from_firestore
from shared.adapters.gcp.listen_targets import ChannelListenTarget, ListenTarget, RunListenTarget
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.storage.readable import readable
from shared.domain.channel import Channel
from shared.domain.run import Run
from shared.errors import StoreUnavailable

MAX_TARGETS = 100
SILENCE_SECONDS = 60.0
"""A healthy stream is not silent for longer: Firestore sends its read time now and then."""
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 10.0


class FirestoreRunWatcher:
    def __init__(
        self, clients: ClientsByLoop, store: FirestoreRunStore, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self._clients = clients
        self._store = store
        self._silence_seconds = silence_seconds
        self._streams: list[_Stream] = []

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[RunListenTarget]:
        feed = RunListenTarget(self._store, run_id)
        async with self._on_a_stream(feed):
            yield feed

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator[ChannelListenTarget]:
        async with AsyncExitStack() as stack:

            async def listen(feed: ListenTarget) -> None:
                await stack.enter_async_context(self._on_a_stream(feed))

            yield ChannelListenTarget(self._store, channel, since, listen)

    @asynccontextmanager
    async def _on_a_stream(self, feed: ListenTarget) -> AsyncIterator[None]:
        stream = self._stream_with_room()
        stream.add(feed)
        try:
            yield
        finally:
            stream.remove(feed)
            if not stream.feeds:
                self._streams.remove(stream)

    def _stream_with_room(self) -> "_Stream":
        """A stream is of the loop it was opened in."""
        loop = asyncio.get_running_loop()
        for stream in self._streams:
            if len(stream.feeds) < MAX_TARGETS and stream.loop is loop and not stream.closed:
                return stream
        stream = _Stream(self._clients, self._silence_seconds)
        self._streams.append(stream)
        return stream


class _Stream:
    """One `listen` call, opened again for as long as anybody watches."""

    def __init__(self, clients: ClientsByLoop, silence_seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.feeds: dict[int, ListenTarget] = {}
        self._client = clients().firestore
        self._silence_seconds = silence_seconds
        self._requests: asyncio.Queue[ListenRequest | None] = asyncio.Queue()
        self._last_target_id = 0
        self._task = asyncio.create_task(self._serve())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """What nobody foresaw must not leave readers waiting for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.failure("listen stream failed", error)
            for feed in self.feeds.values():
                feed.on_broken()

    @property
    def closed(self) -> bool:
        return self._task.done()

    def add(self, feed: ListenTarget) -> None:
        self._last_target_id += 1
        feed.target_id = self._last_target_id
        self.feeds[feed.target_id] = feed
        self._ask_for(feed)

    def remove(self, feed: ListenTarget) -> None:
        del self.feeds[feed.target_id]
        self._send(remove_target=feed.target_id)
        if not self.feeds:
            self._requests.put_nowait(None)
            self._task.cancel()

    async def _serve(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async for response in self._responses():
                    if self._take(response):
                        pause = FIRST_PAUSE_SECONDS
            except (GoogleAPIError, TimeoutError) as error:
                log.warning("listen stream ended; it is opened again", exception=type(error).__name__)
                if isinstance(error, InvalidArgument):
                    self._forget_tokens()
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
            await self._read_anew()
            self._requests = asyncio.Queue()
            for feed in self.feeds.values():
                self._ask_for(feed)

    def _forget_tokens(self) -> None:
        """Perhaps one of them is what was refused; without it a target is sent whole."""
        for feed in self.feeds.values():
            feed.resume_token = b""

    async def _responses(self) -> AsyncIterator[Any]:
        """Raises TimeoutError when the stream is silent for too long.

        Without `retry=None` the library would open the stream again by itself, and send none of the targets.
        """
        requests = self._requests
        async with asyncio.timeout(self._silence_seconds):
            stream = await self._client._firestore_api.listen(
                requests=_until_none(requests), metadata=self._client._rpc_metadata, retry=None, timeout=None
            )
        responses = aiter(stream)
        try:
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    response = await anext(responses, None)
                if response is None:
                    return
                yield response
        finally:
            requests.put_nowait(None)
            stream.cancel()

    def _take(self, response: Any) -> bool:
        """Whether the stream is sound: it has brought a target up to date."""
        if "document_change" in response:
            [*runs] = readable([response.document_change.document], self._read)
            for feed in self._feeds(response.document_change.target_ids):
                for run in runs:
                    feed.on_change(run)
        elif "document_delete" in response:
            for feed in self._feeds(response.document_delete.removed_target_ids):
                feed.on_missing()
        elif "document_remove" in response:
            for feed in self._feeds(response.document_remove.removed_target_ids):
                feed.on_missing()
        elif "target_change" in response:
            return self._take_target_change(response.target_change)
        return False

    def _take_target_change(self, change: Any) -> bool:
        """No target ids mean all targets. A token counts only for a target that has been brought up to date."""
        is_current = change.target_change_type == TargetChange.TargetChangeType.CURRENT
        is_removed = change.target_change_type == TargetChange.TargetChangeType.REMOVE
        for feed in self._feeds(change.target_ids or list(self.feeds)):
            if is_current:
                feed.on_current()
            if is_removed:
                feed.resume_token = b""
            elif change.resume_token and feed.is_current:
                feed.resume_token = change.resume_token
        if is_removed and self._feeds(change.target_ids):
            raise ServiceUnavailable(f"target removed, code {change.cause.code}")  # type: ignore[no-untyped-call]
        return bool(is_current)

    def _feeds(self, target_ids: Any) -> list[ListenTarget]:
        return [self.feeds[target_id] for target_id in target_ids if target_id in self.feeds]

    def _read(self, document: Any) -> Run:
        values: Any = _helpers.decode_dict(document.fields, self._client)
        return from_firestore(values, revision=document.update_time)

    async def _read_anew(self) -> None:
        for feed in list(self.feeds.values()):
            try:
                await feed.read_anew()
            except StoreUnavailable:
                return

    def _ask_for(self, feed: ListenTarget) -> None:
        target = feed.target(self._client)
        target.target_id = feed.target_id
        if feed.resume_token:
            target.resume_token = feed.resume_token
        self._send(add_target=target)

    def _send(self, **change: Any) -> None:
        self._requests.put_nowait(ListenRequest(database=self._client._database_string, **change))


async def _until_none(requests: "asyncio.Queue[ListenRequest | None]") -> AsyncIterator[ListenRequest]:
    while (request := await requests.get()) is not None:
        yield request
