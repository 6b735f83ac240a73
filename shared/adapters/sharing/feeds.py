"""Gives each listener of a run or of a channel its own part of a shared watch."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from math import inf
from typing import Any

from shared.adapters.sharing.pages import PAGE_SIZE, SharedPages
from shared.adapters.storage.pending_changes import PendingChanges
from shared.domain.channel import OVERLAP, Channel
from shared.domain.run import Run
from shared.errors import StoreUnavailable
from shared.ports import RunPosition

READ_AHEAD = 500


class SharedFeed(ABC):
    __slots__ = ("_error", "_waiter", "caught_up_at")

    def __init__(self) -> None:
        self.caught_up_at = -inf
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self, *, timeout: float) -> Run | None:
        """Returns the next state that this listener has not had; None when none comes within `timeout` seconds."""
        if (run := self._pop_or_raise()) is not None:
            return run
        await self._wait(timeout)
        return self._pop_or_raise()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._wake()

    @abstractmethod
    def take(self, run: Run, *, caught_up_at: float) -> None:
        """Keeps the run for the next call of `next`."""

    @abstractmethod
    def _pop(self) -> Run | None:
        """Returns what `next` returns now; None when there is nothing new."""

    def _pop_or_raise(self) -> Run | None:
        run = self._pop()
        if run is None and self._error is not None:
            raise self._error.with_traceback(None)  # many listeners raise the same exception
        return run

    async def _wait(self, seconds: float) -> None:
        """Returns when something has come, or after so many seconds. It costs less than asyncio.timeout."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class SharedRunFeed(SharedFeed):
    """Has no queue: a listener that reads slowly gets the newest state of the run, whose history has all events."""

    __slots__ = ("_run",)

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None

    def take(self, run: Run, *, caught_up_at: float) -> None:
        if self._run is None:
            self.caught_up_at = caught_up_at
        self._run = run
        self._wake()

    def _pop(self) -> Run | None:
        run, self._run = self._run, None
        return run


class SharedChannelFeed(SharedFeed):
    """First reads what has changed since its start, page by page, then gets what the channel's shared watch brings.

    It joins the watch at the end of the pages, and then reads the last OVERLAP again: what was committed between its
    last page and its joining, and earlier changes that were committed late. Each state of a run is returned once.
    """

    __slots__ = ("_channel", "_has_joined", "_is_live", "_join", "_last_read", "_pages", "_pending", "_since", "_start")

    def __init__(
        self, pages: SharedPages, channel: Channel, *, since: datetime, join: Callable[["SharedChannelFeed"], None]
    ) -> None:
        """`join` adds this feed to the listeners of the channel's watch; it is called once."""
        super().__init__()
        self._pages = pages
        self._channel = channel
        self._start = self._since = since
        self._join = join
        self._last_read: RunPosition | None = None
        """The last position of a full page; the next page starts after it. None when there are no more pages."""
        self._has_joined = self._is_live = False
        self._pending = PendingChanges()

    @property
    def since(self) -> datetime:
        """From when on this feed has not read all changes yet."""
        return self._since

    @property
    def waiting(self) -> Collection[Run]:
        """Returns the runs that wait for this listener."""
        return self._pending.waiting

    async def next(self, *, timeout: float) -> Run | None:
        clock = asyncio.get_running_loop().time
        ends = clock() + timeout
        if not self._is_live:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    if (run := await self._read_earlier_changes()) is not None:
                        return run
        return await super().next(timeout=max(ends - clock(), 0.0)) if self._is_live else None

    def take(self, run: Run, *, caught_up_at: float) -> None:
        if self._error is not None or run.updated_at < self._start:
            return
        if self._is_live and not self._pending.waiting:
            self.caught_up_at = caught_up_at
        try:
            if self._pending.add([run]):
                self._wake()
        except StoreUnavailable as error:
            self.cut(error)

    def cut(self, error: StoreUnavailable) -> None:
        """Drops what waits for a listener that reads too slowly; its client connects again and resumes."""
        self._pending = PendingChanges()
        self.fail(error)

    def _pop(self) -> Run | None:
        return self._pending.pop()

    async def _read_earlier_changes(self) -> Run | None:
        """Returns the next earlier change; None when there are none left and this feed is live.

        Once it has joined, it reads on before it returns what the watch brings: that may be much later than what the
        pages still have, and a cursor behind it would hide them.
        """
        while not self._is_live and len(self._pending.waiting) < (READ_AHEAD if self._has_joined else 1):
            if self._error is not None:
                break
            await self._read_page()
        return self._pop_or_raise()

    async def _read_page(self) -> None:
        page = await self._pages.read(self._channel, since=self._since, after=self._last_read)
        self._pending.add([run for run in page.runs if run.updated_at >= self._start])
        last: Any = page.positions[-1] if page.positions else self._last_read
        if len(page.positions) == PAGE_SIZE:
            self._last_read = last
            return
        if self._has_joined:
            self._is_live = True
            return
        if last is not None:
            self._since = max(self._since, last.at - OVERLAP)
        self._last_read = None
        self._has_joined = True
        self._join(self)
