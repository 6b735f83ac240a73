"""Finished runs in a real Redis, as older code reads them; and what its trouble does to runs: nothing."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.system import Cloud, System, until
from tests.e2e.test_flows import finished, submit
from tests.needs import need
from tests.redis_server import HOW_TO_INSTALL, RedisServer

DAY_SECONDS = 86400
JOB = {"job_type": "general_llm_request", "model_id": "demo-model", "input_data": {"full_input": "canary-text"}}


@contextmanager
def running(data_dir: Path, redis: RedisServer) -> Iterator[System]:
    system = System(data_dir, REDIS_URL=redis.url, LLM_SIM_SECONDS="0.2", SWEEP_SECONDS="0.5")
    try:
        yield system
    finally:
        assert system.stop() == 0


def shown(system: System, job_id: str) -> Any:
    with system.client() as client:
        return client.get(f"/api/llm/jobs/{job_id}/status/").json()


def cached(redis: RedisServer, job_id: str) -> Any:
    entry = redis.ask("get", f"llm_job:{job_id}")
    return None if entry is None else json.loads(entry)


def is_cached_as_shown(redis: RedisServer, system: System, job_id: str) -> bool:
    return bool(cached(redis, job_id) == shown(system, job_id))


def run_one(system: System) -> str:
    job_id = submit(system, "/api/llm/jobs/submit/", JOB)
    assert finished(system, job_id)["status"] == "completed"
    return job_id


@pytest.fixture
def local_with_redis(data_dir: Path, redis_server: RedisServer) -> Iterator[tuple[System, RedisServer]]:
    with running(data_dir, redis_server) as system:
        yield system, redis_server


@pytest.fixture
def cloud_with_redis(cloud: Cloud, cloud_redis: RedisServer | None) -> tuple[System, RedisServer]:
    need(None if cloud_redis else HOW_TO_INSTALL)
    assert cloud_redis is not None
    return cloud, cloud_redis


def check_finished_runs_are_cached(system: System, redis: RedisServer) -> None:
    before = set(redis.ask("keys", "*"))
    completed = run_one(system)
    failed = submit(system, "/llm_user_runs", {"input_text": "hello [[fail]]"})
    cancelled = submit(system, "/llm_user_runs", {"input_text": "hello [[never]]"})
    with system.client() as client:
        client.post(f"/api/llm/jobs/{cancelled}/cancel/")
    for job_id, status in ((completed, "completed"), (failed, "failed"), (cancelled, "cancelled")):
        assert finished(system, job_id)["status"] == status
        assert cached(redis, job_id) == shown(system, job_id)
        assert DAY_SECONDS - 60 < redis.ask("ttl", f"llm_job:{job_id}") <= DAY_SECONDS
    assert set(redis.ask("keys", "*")) - before == {f"llm_job:{job_id}" for job_id in (completed, failed, cancelled)}
    with system.client() as client:
        assert client.delete(f"/api/llm/jobs/{completed}/").status_code == 200
    assert cached(redis, completed) is None


def test_a_finished_run_is_in_redis_for_a_day_as_its_status_route_shows_it(
    local_with_redis: tuple[System, RedisServer],
) -> None:
    check_finished_runs_are_cached(*local_with_redis)


def test_a_finished_run_is_in_redis_on_googles_emulators_too(cloud_with_redis: tuple[System, RedisServer]) -> None:
    check_finished_runs_are_cached(*cloud_with_redis)


TROUBLES: dict[str, tuple[Callable[[RedisServer], Any], Callable[[RedisServer], Any]]] = {
    "killed": (RedisServer.kill, RedisServer.start),
    "silent": (RedisServer.stop, RedisServer.go_on),
    "full": (RedisServer.fill, RedisServer.make_room),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_redis_in_trouble_fails_no_run_and_gets_the_results_afterwards(
    trouble: str, data_dir: Path, redis_server: RedisServer
) -> None:
    begin, end = TROUBLES[trouble]
    with running(data_dir, redis_server) as system:
        before = run_one(system)
        begin(redis_server)
        during = [run_one(system) for _ in range(3)]
        end(redis_server)
        until(lambda: all(cached(redis_server, job_id) for job_id in during))
        after = run_one(system)
        for job_id in (*during, after):
            until(partial(is_cached_as_shown, redis_server, system, job_id))
        with system.client("admin") as client:
            assert client.get("/api/admin/overdue/").json()["runs"] == []
        assert trouble == "killed" or cached(redis_server, before) == shown(system, before)
        assert redis_server.url not in system.log() and "canary-text" not in system.log()


def test_a_redis_that_starts_late_gets_the_results_from_before(
    data_dir: Path, start_redis: Callable[..., RedisServer]
) -> None:
    redis = start_redis()
    redis.kill()
    with running(data_dir, redis) as system:
        job_id = run_one(system)
        redis.start()
        assert until(lambda: cached(redis, job_id)) == shown(system, job_id)
