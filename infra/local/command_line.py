"""What the programs of this folder share: they end on Ctrl-C and SIGTERM, however they were started."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TypeVar

import uvicorn

T = TypeVar("T")

PORT_OPTION = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""The former exists on Windows only, where the latter lets two programs share a port."""

ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Windows has no SIGHUP, the others have no SIGBREAK."""


class Server(uvicorn.Server):
    """Leaves the signals to the program that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_until_signal(
    program: Coroutine[Any, Any, T], *, make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> T | None:
    """Runs the program; returns what it returns, or None when a signal cancelled it.

    A cancelled program ends what it started, in its `finally` blocks. A second signal cuts them short at their next
    `await`.
    """
    with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(_cancelled_by_signals(program))
    return None


def bind(port: int) -> socket.socket:
    """Returns a bound socket on 127.0.0.1; port 0 takes a free one. Raises OSError when the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, PORT_OPTION, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def print_any_character() -> None:
    """Makes output show `?` for what its encoding lacks: on Windows a file or a pipe takes 256 characters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def leave(status: int) -> NoReturn:
    """Ends the process now: Python's own exit would wait for threads, and a call to an LLM holds one for minutes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def _cancelled_by_signals(program: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def cancel(*_: object) -> None:
        loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, cancel) for number in _signals()}
    try:
        return await program
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    """A shell script ignores SIGINT for its background commands, and nohup ignores SIGHUP: both stay ignored."""
    known = [signal.Signals[name] for name in ENDINGS if hasattr(signal, name)]
    return [number for number in known if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN]
