"""Lets the programs of this folder end on Ctrl-C and SIGTERM, whether a terminal or a script has started them."""

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
"""SO_EXCLUSIVEADDRUSE exists on Windows only, where SO_REUSEADDR would let two programs share a port.

https://learn.microsoft.com/en-us/windows/win32/winsock/using-so-reuseaddr-and-so-exclusiveaddruse
"""

ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that end a program. Windows has no SIGHUP, other systems have no SIGBREAK."""


class Server(uvicorn.Server):
    """A server that does not handle signals: `run_until_signal` handles them for the whole program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_until_signal(
    program: Coroutine[Any, Any, T], *, make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> T | None:
    """Runs the coroutine; returns its result, or None when a signal cancelled it.

    A cancelled coroutine stops in its `finally` blocks what it has started. A second signal cancels these blocks too.
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
    """Prints `?` for each character that the output's encoding lacks, instead of raising UnicodeEncodeError.

    On Windows, a file or a pipe has a code page of 256 characters.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def leave(status: int) -> NoReturn:
    """Ends the process at once. Python's own exit waits for all threads, and an LLM call blocks one for minutes."""
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
    """Returns the signals that end this program.

    Shell scripts start background commands with SIGINT ignored, and nohup starts them with SIGHUP ignored. Such a
    signal stays ignored; SIGTERM never does.
    """
    known = [signal.Signals[name] for name in ENDINGS if hasattr(signal, name)]
    return [number for number in known if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN]
