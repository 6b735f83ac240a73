"""A function that takes no more requests at once than it may."""

import argparse
import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from infra.local.embedded.asgi import post
from infra.local.embedded.capacity import Capacity
from infra.local.embedded.host import read_capacity


async def test_requests_above_the_limit_get_429_and_never_reach_the_function() -> None:
    reached, may_end = asyncio.Semaphore(0), asyncio.Event()
    seen = []

    async def function(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        reached.release()
        await may_end.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    limited = Capacity(function, 2)
    taken = [asyncio.create_task(post(limited, path="/taken", body=b"{}", headers={})) for _ in range(2)]
    for _ in taken:
        await reached.acquire()
    assert await post(limited, path="/refused", body=b"{}", headers={}) == 429
    may_end.set()
    assert await asyncio.gather(*taken) == [204, 204]
    assert await post(limited, path="/later", body=b"{}", headers={}) == 204
    assert seen == ["/taken", "/taken", "/later"]


async def test_a_function_that_raises_gives_its_place_back() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    limited = Capacity(broken, 1)
    for _ in range(2):
        try:
            await post(limited, path="/", body=b"", headers={})
        except RuntimeError:
            continue
        raise AssertionError("the request did not reach the function")


def test_a_capacity_is_a_function_and_a_number() -> None:
    assert read_capacity("process_run=10") == ("process_run", 10)
    for wrong in ("process_runs=10", "process_run", "process_run=0", "process_run=-1", "process_run=ten", "=10"):
        with pytest.raises(argparse.ArgumentTypeError):
            read_capacity(wrong)
