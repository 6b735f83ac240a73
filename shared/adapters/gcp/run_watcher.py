"""Watches runs in Firestore with `listen` calls of the async client; one call (a stream) carries up to 100 targets.

The library's own `on_snapshot` exists in the sync client only, takes two threads for each watch, and ends silently
when a callback raises. A stream that breaks or stays silent for too long is opened again. Each target then continues
where it stopped (resume token), and is also read from the store, so that its reader gets changes while streams fail.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
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
from shared.adapters.gcp.revision import Revision
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.storage.readable import readable_runs
from shared.domain.channel import Channel
from shared.domain.run import Run
from shared.errors import StoreUnavailable

MAX_TARGETS = 100
MAX_SILENCE_SECONDS = 130.0
"""A healthy stream is not silent for longer, because Firestore sends its read time from time to time."""
MAX_SILENCE_BEFORE_CURRENT_SECONDS = 10.0
"""Firestore sends the documents of a new target at once; the emulator sometimes stops amid them."""
MIN_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 10.0


class FirestoreRunWatcher:
    def __init__(
        self,
        clients: ClientsByLoop,
        store: FirestoreRunStore,
        *,
        max_silence_seconds: float = MAX_SILENCE_SECONDS,
        max_silence_before_current_seconds: float = MAX_SILENCE_BEFORE_CURRENT_SECONDS,
    ) -> None:
        """A stream that sends nothing for so long is opened again; the second bound holds while a target is new."""
        self._clients = clients
        self._store = store
        self._max_silence_seconds = max_silence_seconds
        self._max_silence_before_current_seconds = min(max_silence_seconds, max_silence_before_current_seconds)
        self._streams: list[_Stream] = []

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[RunListenTarget]:
        target = RunListenTarget(self._store, run_id)
        async with self._listening(target):
            yield target

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator[ChannelListenTarget]:
        async with AsyncExitStack() as stack:

            async def start_listening(target: ListenTarget) -> None:
                await stack.enter_async_context(self._listening(target))

            yield ChannelListenTarget(self._store, channel, since, start_listening)

    @asynccontextmanager
    async def _listening(self, target: ListenTarget) -> AsyncIterator[None]:
        """Keeps the target on a stream inside the block."""
        stream = self._stream_with_capacity()
        stream.add(target)
        try:
            yield
        finally:
            stream.remove(target)
            if not stream.targets:
                self._streams.remove(stream)

    def _stream_with_capacity(self) -> "_Stream":
        """Returns a stream of the running event loop, because a stream works only in the loop that opened it."""
        loop = asyncio.get_running_loop()
        for stream in self._streams:
            if len(stream.targets) < MAX_TARGETS and stream.loop is loop and not stream.closed:
                return stream
        stream = _Stream(self._clients, self._max_silence_seconds, self._max_silence_before_current_seconds)
        self._streams.append(stream)
        return stream


class _Stream:
    """Keeps one `listen` call open as long as it has targets, and hands its responses to them."""

    def __init__(
        self, clients: ClientsByLoop, max_silence_seconds: float, max_silence_before_current_seconds: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.targets: dict[int, ListenTarget] = {}
        """{target id: target}"""
        self._client = clients().firestore
        self._max_silence_seconds = max_silence_seconds
        self._max_silence_before_current_seconds = max_silence_before_current_seconds
        self._loses_changes = bool(self._client._emulator_host)
        """The emulator loses what is written while it sends the documents of a new target. Firestore does not."""
        self._requests: asyncio.Queue[ListenRequest | None] = asyncio.Queue()
        self._last_target_id = 0
        self._task = asyncio.create_task(self._serve())
        self._task.add_done_callback(self._on_end)

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        """After an unexpected exception, tells the targets, so that their readers do not wait forever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.failure("listen stream failed", error)
            for target in self.targets.values():
                target.on_broken()

    @property
    def closed(self) -> bool:
        return self._task.done()

    def add(self, target: ListenTarget) -> None:
        self._last_target_id += 1
        target.target_id = self._last_target_id
        self.targets[target.target_id] = target
        self._request_target(target)

    def remove(self, target: ListenTarget) -> None:
        """Removes the target, and ends the stream with its last target."""
        del self.targets[target.target_id]
        self._send(remove_target=target.target_id)
        if not self.targets:
            self._requests.put_nowait(None)
            self._task.cancel()

    async def _serve(self) -> None:
        backoff_seconds = MIN_BACKOFF_SECONDS
        while True:
            if await self._handle_responses():
                backoff_seconds = MIN_BACKOFF_SECONDS
            for target in self.targets.values():
                target.on_lost()
            await asyncio.sleep(backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, MAX_BACKOFF_SECONDS)
            await self._refresh(list(self.targets.values()))
            self._requests = asyncio.Queue()
            for target in self.targets.values():
                self._request_target(target)

    async def _handle_responses(self) -> bool:
        """Opens a stream and handles its responses until it ends; returns True when it brought a target up to date."""
        has_succeeded = False
        try:
            async for response in self._responses():
                if self._handle(response):
                    has_succeeded = True
                    if self._loses_changes:
                        await self._refresh(self._targets_of(response.target_change.target_ids))
        except (GoogleAPIError, TimeoutError) as error:
            log.warning("listen stream ended; it is opened again", exception=type(error).__name__)
            if isinstance(error, InvalidArgument):
                self._discard_resume_tokens()
        return has_succeeded

    def _discard_resume_tokens(self) -> None:
        """One of the tokens may be the invalid argument. Without a token Firestore sends all documents of a target."""
        for target in self.targets.values():
            target.resume_token = b""

    async def _responses(self) -> AsyncIterator[Any]:
        """Opens a stream and yields its responses until it ends. Raises TimeoutError when it is silent for too long."""
        requests = self._requests
        async with asyncio.timeout(self._max_silence_seconds):
            call = await self._client._firestore_api.listen(
                requests=_until_none(requests),
                metadata=self._client._rpc_metadata,
                retry=None,  # the library's retry would open the stream again without sending the targets
                timeout=None,
            )
        responses = aiter(call)
        try:
            while True:
                async with asyncio.timeout(self._bound_of_silence()):
                    response = await anext(responses, None)
                if response is None:
                    return
                yield response
        finally:
            requests.put_nowait(None)
            call.cancel()

    def _bound_of_silence(self) -> float:
        """Returns for how many seconds the stream may send nothing from now on."""
        if all(target.is_current for target in self.targets.values()):
            return self._max_silence_seconds
        return self._max_silence_before_current_seconds

    def _handle(self, response: Any) -> bool:
        """Passes a response to its targets; returns True when it brought a target up to date."""
        if "document_change" in response:
            self._handle_document_change(response.document_change)
        elif "document_delete" in response:
            for target in self._targets_of(response.document_delete.removed_target_ids):
                target.on_missing()
        elif "document_remove" in response:
            for target in self._targets_of(response.document_remove.removed_target_ids):
                target.on_missing()
        elif "target_change" in response:
            return self._handle_target_change(response.target_change)
        return False

    def _handle_document_change(self, change: Any) -> None:
        for run in readable_runs([change.document], self._to_run):
            for target in self._targets_of(change.target_ids):
                target.on_change(run)

    def _handle_target_change(self, change: Any) -> bool:
        """Returns True when targets are up to date. Raises ServiceUnavailable when Firestore removed a target."""
        is_current = change.target_change_type == TargetChange.TargetChangeType.CURRENT
        is_removed = change.target_change_type == TargetChange.TargetChangeType.REMOVE
        for target in self._targets_of(change.target_ids or list(self.targets)):  # no ids mean all targets
            if is_current:
                target.on_current()
            if is_removed:
                target.resume_token = b""
            elif change.resume_token and target.is_current:  # before that, a token does not count
                target.resume_token = change.resume_token
        if is_removed and self._targets_of(change.target_ids):
            raise ServiceUnavailable(f"target removed, code {change.cause.code}")  # type: ignore[no-untyped-call]
        return bool(is_current)

    def _targets_of(self, target_ids: Iterable[int]) -> list[ListenTarget]:
        return [self.targets[target_id] for target_id in target_ids if target_id in self.targets]

    def _to_run(self, document: Any) -> Run:
        values: Any = _helpers.decode_dict(document.fields, self._client)
        return from_firestore(values, revision=Revision(document.update_time))

    async def _refresh(self, targets: list[ListenTarget]) -> None:
        """Stops at the first failure, which the other targets would share. The stream sends the changes anyway."""
        for target in targets:
            try:
                await target.refresh()
            except StoreUnavailable:
                return

    def _request_target(self, target: ListenTarget) -> None:
        """Asks Firestore to send the target's changes, from its resume token on if it has one."""
        proto = target.to_proto(self._client)
        proto.target_id = target.target_id
        target.is_current = False
        if target.resume_token:
            proto.resume_token = target.resume_token
        self._send(add_target=proto)

    def _send(self, **change: Any) -> None:
        self._requests.put_nowait(ListenRequest(database=self._client._database_string, **change))


async def _until_none(requests: "asyncio.Queue[ListenRequest | None]") -> AsyncIterator[ListenRequest]:
    """Yields the requests of the queue; None ends the iteration, which closes the stream's sending side."""
    while (request := await requests.get()) is not None:
        yield request
