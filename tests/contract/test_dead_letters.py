"""Tests the DeadLetters port."""

from typing import Any

RUN = "6f1f2c0e-1111-4222-8333-444455556666"


async def keep(backend: Any, message_id: str, source: str = "process-run", data: str = "{}") -> None:
    await backend.dead_letters.keep(
        message_id=message_id, source=source, reason="undeliverable", data=data, attributes={"a": "b"}
    )


async def test_a_kept_message_is_listed_with_what_it_says(backend: Any) -> None:
    assert await backend.dead_letters.kept(limit=5) == []
    await keep(backend, "1", data=f'{{"run_id": "{RUN}"}}')
    await keep(backend, "1", data=f'{{"run_id": "{RUN}"}}')
    [letter] = await backend.dead_letters.kept(limit=5)
    assert (letter.message_id, letter.source, letter.reason) == ("1", "process-run", "undeliverable")
    assert (letter.run_id, letter.attributes) == (RUN, {"a": "b"})


async def test_pages_show_each_message_once(backend: Any) -> None:
    for number in range(5):
        await keep(backend, str(number), source=("process-run", "recheck_run")[number % 2])
    seen, last = [], None
    while page := await backend.dead_letters.kept(after=last, limit=2):
        assert len(page) <= 2
        seen += [letter.message_id for letter in page]
        last = page[-1]
    assert sorted(seen) == ["0", "1", "2", "3", "4"]


async def test_a_removed_message_is_gone_and_may_be_removed_again(backend: Any) -> None:
    await keep(backend, "1")
    await keep(backend, "1", source="recheck_run")
    [letter, other] = await backend.dead_letters.kept(limit=5)
    for _ in range(2):
        await backend.dead_letters.remove(letter)
    assert [left.source for left in await backend.dead_letters.kept(limit=5)] == [other.source]
