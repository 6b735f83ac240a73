"""Tests when the text of an answer is saved while the LLM writes it, on a virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.directory import LlmApi
from shared.domain.frozen import replace
from shared.domain.progress import Finished, Observation, OnText
from shared.domain.result import Result
from shared.domain.run import Run
from shared.errors import LlmUnavailable, RunNotFound, StaleRun, StoreUnavailable
from shared.usecases.save_text import start_and_save_text
from tests.contract.runs import NOW, a_run
from tests.simulation import loop as virtual

Write = Callable[..., Coroutine[Any, Any, Finished]]
ANSWER = Finished(result=Result(text="the answer"))


class LoopClock:
    def now(self) -> Any:
        return NOW + timedelta(seconds=asyncio.get_running_loop().time())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class OneRun:
    """A store of one run. `saves` are (seconds, the text so far); each takes `takes` seconds, and may be `refused`."""

    def __init__(self) -> None:
        self.run: Run | None = replace(
            a_run(api=LlmApi.OPENAI_CHAT).claimed(NOW, lease=timedelta(minutes=5)), revision=1
        )
        self.saves: list[tuple[float, str]] = []
        self.reads: list[float] = []
        self.takes = 0.0
        self.is_away: Callable[[float], bool] = lambda now: False
        self.loses_answers = False

    async def save(self, run: Run) -> Run:
        now = asyncio.get_running_loop().time()
        if self.is_away(now):
            raise StoreUnavailable
        if self.run is None or run.revision != self.run.revision:
            raise StaleRun
        if self.takes:
            await asyncio.sleep(self.takes)
        self.run = replace(run, revision=run.revision + 1)
        self.saves.append((round(now, 3), text_of(self.run)))
        if self.loses_answers:
            raise StoreUnavailable
        return self.run

    async def get(self, run_id: str, *, with_result: bool = True) -> Run:
        self.reads.append(asyncio.get_running_loop().time())
        if self.run is None:
            raise RunNotFound
        return self.run


def text_of(run: Run) -> str:
    return "".join(event.detail["delta"] for event in run.events if "delta" in event.detail)


def follow(store: OneRun, write: Write) -> tuple[Run, Observation | None, float]:
    """Returns (the run afterwards, what came of the call, the seconds that it took)."""

    async def main() -> tuple[Run, Observation | None, float]:
        assert store.run is not None
        adapter: Any = store
        run, observed = await start_and_save_text(store.run, write, store=adapter, clock=LoopClock())
        return run, observed, asyncio.get_running_loop().time()

    return virtual.run(main)


def writing(*, every: float, seconds: float) -> Write:
    """Writes a word each `every` seconds."""

    async def write(*, on_text: OnText) -> Finished:
        loop = asyncio.get_running_loop()
        while loop.time() < seconds:
            await asyncio.sleep(every)
            on_text("word ")
        return ANSWER

    return write


@pytest.fixture
def store() -> OneRun:
    return OneRun()


def test_text_is_saved_at_once_and_then_at_most_once_a_second(store: OneRun) -> None:
    run, observed, _ = follow(store, writing(every=0.1, seconds=8))
    times = [at for at, _ in store.saves]
    assert times[0] == 0.1 and observed == ANSWER
    assert all(later - earlier > 0.999 for earlier, later in zip(times, times[1:], strict=False))
    assert len(times) in (8, 9) and run.revision == len(times) + 1
    assert [text for _, text in store.saves] == sorted({text for _, text in store.saves})


def test_the_saves_of_a_long_call_are_bounded(store: OneRun) -> None:
    follow(store, writing(every=0.5, seconds=500))
    assert 30 < len(store.saves) <= 60


def test_a_call_without_text_saves_nothing(store: OneRun) -> None:
    async def write(*, on_text: OnText) -> Finished:
        await asyncio.sleep(35)
        return ANSWER

    run, _, _ = follow(store, write)
    assert store.saves == [] and run.revision == 1
    assert len(store.reads) == 3, "it looks whether the run is still wanted"


@pytest.mark.parametrize("takes", [0.5, 30.0])
def test_an_answer_waits_for_no_save_of_its_text(store: OneRun, takes: float) -> None:
    store.takes = takes
    _, observed, seconds = follow(store, writing(every=0.1, seconds=0.3))
    assert observed == ANSWER and seconds < 0.5


def test_a_run_that_ends_amid_the_call_stops_it_within_seconds(store: OneRun) -> None:
    stopped: list[float] = []

    async def write(*, on_text: OnText) -> Finished:
        try:
            return await writing(every=0.1, seconds=300)(on_text=on_text)
        finally:
            stopped.append(asyncio.get_running_loop().time())

    async def cancel() -> None:
        await asyncio.sleep(5.05)
        assert store.run is not None
        store.run = replace(store.run.cancelled(NOW), revision=99)

    _, observed, _ = follow(store, beside(write, cancel))
    assert observed is None and len(stopped) == 1 and 5 < stopped[0] < 7


def test_a_silent_call_stops_too_when_its_run_is_cancelled_or_deleted(store: OneRun) -> None:
    async def write(*, on_text: OnText) -> Finished:
        await asyncio.sleep(300)
        return ANSWER

    async def forget() -> None:
        store.run = None

    _, observed, seconds = follow(store, beside(write, forget))
    assert observed is None and seconds < 15


def beside(write: Write, other: Callable[[], Awaitable[None]]) -> Write:
    """Does `other` beside the call."""

    async def both(*, on_text: OnText) -> Finished:
        asyncio.ensure_future(other())
        return await write(on_text=on_text)

    return both


def test_a_write_of_another_that_leaves_the_claim_costs_one_save_only(store: OneRun) -> None:
    async def note() -> None:
        await asyncio.sleep(1.5)
        assert store.run is not None
        store.run = replace(store.run, worker_errors=1, revision=50)

    run, observed, _ = follow(store, beside(writing(every=0.1, seconds=6), note))
    assert observed == ANSWER and run.worker_errors == 1
    assert store.saves[-1][1].count("word") > 40


def test_a_store_that_is_away_delays_deltas_and_nothing_else(store: OneRun) -> None:
    store.is_away = lambda now: 2 < now < 5
    _, observed, seconds = follow(store, writing(every=0.1, seconds=8))
    assert observed == ANSWER and seconds < 8.3
    assert store.saves[-1][1].count("word") > 60


def test_a_save_whose_answer_was_lost_repeats_no_text(store: OneRun) -> None:
    store.loses_answers = True
    follow(store, writing(every=0.1, seconds=8))
    assert len(store.saves) >= 4
    assert store.saves[-1][1] == "word " * store.saves[-1][1].count("word")


def test_text_that_came_before_an_error_is_left_to_the_save_of_the_error(store: OneRun) -> None:
    async def write(*, on_text: OnText) -> Finished:
        on_text("Once ")
        await asyncio.sleep(0.1)
        on_text("upon")
        raise LlmUnavailable(may_be_billed=True)

    run, observed, _ = follow(store, write)
    assert isinstance(observed, LlmUnavailable)
    assert [text for _, text in store.saves] == ["Once "]
    assert text_of(run) == "Once upon" and run.revision == 2


def test_an_unexpected_error_of_a_save_does_not_end_the_call(store: OneRun) -> None:
    def breaks(now: float) -> bool:
        raise ZeroDivisionError

    store.is_away = breaks
    _, observed, _ = follow(store, writing(every=0.1, seconds=3))
    assert observed == ANSWER


def test_an_unexpected_error_of_the_call_is_raised(store: OneRun) -> None:
    async def write(*, on_text: OnText) -> Finished:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(store, write)
