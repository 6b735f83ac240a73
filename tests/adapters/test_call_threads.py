"""The threads that call LLMs: how many there are, which calls begin, and who hears how a call has ended."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from shared.adapters.llm.threads import CallThreads


@pytest.fixture
def threads() -> Iterator[CallThreads]:
    threads = CallThreads(size=2, name="of-this-test")
    yield threads
    threads.close()


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "of-this-test"]


async def test_calls_return_what_their_work_returns_or_raises(threads: CallThreads) -> None:
    def refuse() -> None:
        raise ValueError("refused")

    assert await threads.submit(lambda: 7) == 7
    with pytest.raises(ValueError, match="refused"):
        await threads.submit(refuse)


async def test_there_are_no_more_threads_than_calls_at_once_nor_than_the_limit(threads: CallThreads) -> None:
    for _ in range(3):
        await threads.submit(lambda: None)
        assert len(running()) == 1
    gate = threading.Event()
    calls = [threads.submit(gate.wait) for _ in range(5)]
    assert len(running()) == 2
    gate.set()
    assert await asyncio.gather(*calls) == [True] * 5


async def test_calls_begin_in_the_order_in_which_they_came() -> None:
    threads, begun = CallThreads(size=1, name="in order"), list[int]()
    await asyncio.gather(*[threads.submit(partial(begun.append, number)) for number in range(20)])
    threads.close()
    assert begun == list(range(20))


async def test_a_call_that_was_given_up_before_it_began_does_not_begin(threads: CallThreads) -> None:
    gate, begun = threading.Event(), list[str]()
    held = [threads.submit(gate.wait) for _ in range(2)]
    threads.submit(lambda: begun.append("given up")).cancel()
    last = threads.submit(lambda: begun.append("last"))
    gate.set()
    await asyncio.gather(*held, last)
    assert begun == ["last"]


async def test_a_call_that_was_given_up_while_it_runs_leaves_its_thread_to_others(threads: CallThreads) -> None:
    gate = threading.Event()
    given_up = threads.submit(gate.wait)
    given_up.cancel()
    gate.set()
    assert await asyncio.gather(*[threads.submit(lambda: 1) for _ in range(4)]) == [1] * 4
    assert given_up.cancelled()


async def test_closing_cancels_the_calls_that_have_not_begun_and_ends_the_threads() -> None:
    threads = CallThreads(size=1, name="closing")
    gate, inside = threading.Event(), threading.Event()

    def wait() -> bool:
        inside.set()
        return gate.wait(5)

    begun = threads.submit(wait)
    assert await asyncio.to_thread(inside.wait, 5)
    thread = next(thread for thread in threading.enumerate() if thread.name == "closing")
    waiting = threads.submit(lambda: None)
    threads.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await begun
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError):
        threads.submit(lambda: None)


def test_a_call_whose_event_loop_is_closed_ends_without_a_sound(threads: CallThreads) -> None:
    gate, ended = threading.Event(), threading.Event()

    def wait() -> None:
        gate.wait(5)
        ended.set()

    async def submit() -> None:
        threads.submit(wait)

    asyncio.run(submit())
    gate.set()
    assert ended.wait(5)
    threads.close()
    for thread in running():
        thread.join(5)
    assert running() == []
