"""Tests the DurationStore port."""

import asyncio
from typing import Any
from uuid import uuid4

from shared.domain.durations import MAX_JOBS, Durations, one_duration

JOB = one_duration(60, 70, known=Durations())


def new_key() -> str:
    """Returns a key with characters that Firestore takes in no document id."""
    return f"standard model vendor/{uuid4()}"


async def test_nothing_is_known_of_a_new_key(backend: Any) -> None:
    assert await backend.durations.known(new_key()) == Durations()


async def test_what_is_added_is_known_under_its_key_only(backend: Any) -> None:
    key = new_key()
    for _ in range(6):
        await backend.durations.add(key, JOB)
    known = await backend.durations.known(key)
    assert known == Durations(tuple(6 * weight for weight in JOB.weights))
    assert await backend.durations.known(new_key()) == Durations()


async def test_of_concurrent_additions_some_may_have_no_effect_and_none_fails(backend: Any) -> None:
    key = new_key()
    await asyncio.gather(*[backend.durations.add(key, JOB) for _ in range(12)])
    assert 1 <= (await backend.durations.known(key)).jobs <= 12


async def test_old_durations_fade_as_new_ones_come(backend: Any) -> None:
    key, many = new_key(), Durations(tuple(100 * weight for weight in JOB.weights))
    for _ in range(8):
        await backend.durations.add(key, many)
    later = one_duration(6, 7, known=Durations())
    for _ in range(4):
        await backend.durations.add(key, later)
    known = await backend.durations.known(key)
    assert known.jobs <= MAX_JOBS
    assert sum(known.weights[: len(later.weights)]) > 3900, "new ones count in full"
