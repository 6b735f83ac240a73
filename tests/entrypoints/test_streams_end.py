"""A stream goes on only for as long as its listener would still be let in."""

from collections.abc import AsyncIterator

import pytest

from shared.domain.directory import Profile
from shared.errors import Unauthenticated
from shared.web.sse import with_periodic_auth
from tests.unit.world import DEMO


async def parts() -> AsyncIterator[bytes]:
    for number in range(5):
        yield str(number).encode()


async def test_a_stream_ends_when_its_caller_is_no_longer_authenticated() -> None:
    asked = 0

    async def authenticate() -> Profile:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Unauthenticated
        return DEMO

    heard = []
    with pytest.raises(Unauthenticated):
        async for part in with_periodic_auth(parts(), authenticate, every=0):
            heard.append(part)
    assert heard == [b"0", b"1", b"2"]


async def test_a_stream_does_not_authenticate_its_caller_at_each_part() -> None:
    async def authenticate() -> Profile:
        raise AssertionError

    assert [part async for part in with_periodic_auth(parts(), authenticate)] == [b"0", b"1", b"2", b"3", b"4"]
