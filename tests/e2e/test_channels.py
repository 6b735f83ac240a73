"""A channel's stream over HTTP: who may listen, and that it resumes where it was cut."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.e2e.system import System, until, updates


@contextmanager
def listening(system: System, channel: str, user: str = "demo", **headers: str) -> Iterator[list[dict[str, Any]]]:
    """What comes on the channel; it begins when the stream is open."""
    heard: list[dict[str, Any]] = []
    opened = threading.Event()
    with system.client(user) as client, client.stream("GET", f"/channels/{channel}/stream", headers=headers) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")

        def read() -> None:
            opened.set()
            try:
                heard.extend(iter_into(heard, answer))
            except (httpx.TransportError, httpx.StreamError):
                return

        thread = threading.Thread(target=read)
        thread.start()
        opened.wait()
        try:
            yield heard
        finally:
            system_socket(answer).shutdown(2)
            thread.join()


def iter_into(heard: list[dict[str, Any]], answer: httpx.Response) -> list[dict[str, Any]]:
    for update in updates(answer):
        heard.append(update)
    return []


def system_socket(answer: httpx.Response) -> Any:
    return answer.extensions["network_stream"].get_extra_info("socket")


def submit(system: System, channel: str, user: str = "demo") -> str:
    with system.client(user) as client:
        answer = client.post("/llm_user_runs", json={"input_text": "hello", "channel": channel})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_uuid"])


def ended(heard: list[dict[str, Any]]) -> set[str]:
    return {update["data"]["run_uuid"] for update in heard if update["event"] == "run.completed"}


def told(heard: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(update["data"]["run_uuid"], update["data"]["sequence"]) for update in heard]


def test_a_channel_carries_all_its_runs_and_resumes_without_gap_or_repeat(system: System) -> None:
    channel = f"desk-{uuid4()}"
    with listening(system, channel) as heard:
        first = {submit(system, channel) for _ in range(3)}
        until(lambda: ended(heard) == first)
    assert len(set(told(heard))) == len(told(heard))
    middle = len(heard) // 2
    second = {submit(system, channel) for _ in range(2)}
    with listening(system, channel, **{"Last-Event-ID": heard[middle]["id"]}) as again:
        until(lambda: ended(heard[: middle + 1]) | ended(again) == first | second)
    both = told(heard[: middle + 1]) + told(again)
    assert len(set(both)) == len(both) and set(told(heard)) <= set(both)
    for run_id in first | second:
        sequences = [sequence for whose, sequence in both if whose == run_id]
        assert sorted(sequences) == list(range(1, len(sequences) + 1))


def test_members_receive_their_organizations_channel_and_equal_names_elsewhere_are_other_channels(
    system: System,
) -> None:
    channel = f"desk-{uuid4()}"
    with listening(system, "org:acme") as members, listening(system, channel, "other") as others:
        theirs = submit(system, "org:acme", "admin")
        mine = submit(system, channel)
        until(lambda: theirs in ended(members))
        with listening(system, channel, "admin") as colleagues:
            until(lambda: mine in ended(colleagues))
    assert others == []


@pytest.mark.parametrize("channel", ["user:other", "org:globex"])
def test_another_users_channel_is_not_found(system: System, channel: str) -> None:
    with system.client() as client:
        answer = client.get(f"/channels/{channel}/stream")
        assert (answer.status_code, answer.json()["code"]) == (404, "channel_not_found")


def test_a_name_may_hold_any_character(system: System) -> None:
    with listening(system, "a%2Fb%3F%23%20c%C3%BC") as heard:
        run_id = submit(system, "a/b?# cü")
        until(lambda: run_id in ended(heard))
