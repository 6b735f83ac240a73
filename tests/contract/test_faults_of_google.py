"""A Firestore that refuses calls now and then: what refuses one call is never taken for good."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import TransientError
from tests.contract.runs import NOW, a_run
from tests.google import store_behind_a_proxy
from tests.grpc_proxy import Forward, Hook, Refused, Requests

T = TypeVar("T")
SHARE_OF_REFUSALS = 0.3
REFUSALS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


def refusing_now_and_then(seed: int) -> Hook:
    """Refuses this share of all calls, half of them as unavailable and half as aborted."""
    dice = random.Random(seed)

    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if dice.random() < SHARE_OF_REFUSALS:
            raise Refused(dice.choice(REFUSALS))
        return forward()

    return hook


async def with_patience(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats the call after each TransientError, as Google's services deliver again; other errors are raised."""
    for _ in range(20):
        try:
            return await call()
        except TransientError:
            continue
    raise AssertionError("refused twenty times")


async def test_with_three_of_ten_calls_refused_every_run_is_stored_and_ends(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        proxy.hook = refusing_now_and_then(seed=18)

        async def finished(run: Run) -> Run:
            await with_patience(lambda: store.create(run))

            async def claim() -> Run:
                found = await store.get(run.id)
                return found if found.fence else await store.save(found.claimed(NOW, lease=timedelta(seconds=9)))

            async def complete() -> Run:
                found = await store.get(run.id)
                result = Result(text="done")
                ended = found.completed(NOW, result=result, usage=Usage(), checks=1)
                return found if found.is_terminal else await store.save(ended)

            await with_patience(claim)
            return await with_patience(complete)

        runs = [a_run() for _ in range(20)]
        await asyncio.gather(*[finished(run) for run in runs])
        proxy.hook = None
        stored = [await store.get(run.id) for run in runs]
    assert {(run.status, run.fence) for run in stored} == {(Status.COMPLETED, 1)}
