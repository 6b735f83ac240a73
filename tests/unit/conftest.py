"""The world of a unit test with the usual settings; `World(settings=…)` makes others."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world
