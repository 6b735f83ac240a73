"""The systems that are compared, each with a durable store of its own in a new folder, and how a client calls them."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
from aiohttp import ClientSession

from infra.local.emulators.processes import ChildProcess, ChildProcesses, wait_until_listening
from tests.bench.peers.install import PEERS, node_problem, python_problem, restate_server, venv_program
from tests.e2e.system import System, until

POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "1"))
"""After how long a peer looks at a job of the LLM, and looks again."""
WORKER_THREADS = 32
API_THREADS = 16
BODY = {"input_text": "hello world " * 20}


class Running(Protocol):
    """A system under load."""

    @property
    def roots(self) -> Sequence[int]:
        """Returns the ids of its first processes; all others descend from them."""

    async def submit(self, session: ClientSession) -> str:
        """Returns the new run's id."""

    async def completed_at(self, session: ClientSession, run_id: str) -> float | None:
        """Returns the time, in seconds since 1970, at which the run was complete; None while it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobApi:
    """Ours, and the peer that has the same routes."""

    url: str
    roots: Sequence[int]
    token: str = ""

    async def submit(self, session: ClientSession) -> str:
        async with session.post(f"{self.url}/llm_user_runs", json=BODY, headers=self._headers()) as answer:
            accepted = await answer.json()
            assert answer.status == 200, accepted
            return str(accepted["run_uuid"])

    async def completed_at(self, session: ClientSession, run_id: str) -> float | None:
        async with session.get(f"{self.url}/llm_user_runs/{run_id}", headers=self._headers()) as answer:
            run = await answer.json()
            assert answer.status == 200, run
        return _completion(run)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestateIngress:
    """Restate's own HTTP interface; a run is one invocation of a handler."""

    url: str
    roots: Sequence[int]

    async def submit(self, session: ClientSession) -> str:
        key = {"Idempotency-Key": os.urandom(16).hex()}  # Restate keeps results of such invocations only
        async with session.post(f"{self.url}/Runs/run/send", json=BODY, headers=key) as answer:
            accepted = await answer.json()
            assert answer.status == 202, accepted
            return str(accepted["invocationId"])

    async def completed_at(self, session: ClientSession, run_id: str) -> float | None:
        async with session.get(f"{self.url}/restate/invocation/{run_id}/output") as answer:
            if answer.status != 200:
                return None
            return _completion(await answer.json())


def _completion(run: dict[str, Any]) -> float | None:
    if run["status"] != "completed":
        return None
    assert run["result"]["text"] == "ok", run
    at = run["completed_at"]
    return datetime.fromisoformat(at).timestamp() if "T" in str(at) else float(at)


class LlmRuns:
    name = "LLM Runs"

    def problem(self) -> str | None:
        return None

    @contextmanager
    def running(self, folder: Path, llm_url: str) -> Iterator[Running]:
        deployments = json.dumps(dict.fromkeys(("europe", "tokyo", "default"), llm_url))
        system = System(folder / "data", LLM_DEPLOYMENTS=deployments, SUBMITS_PER_MINUTE="0", MAX_OPEN_RUNS="0")
        try:
            yield JobApi(url=system.url, token=system.token(), roots=[system.process.pid])
        finally:
            system.stop()


class CeleryPeer:
    name = "Celery"

    def problem(self) -> str | None:
        if not shutil.which("redis-server"):
            return "redis-server is missing; on Debian: apt-get install redis-server"
        return python_problem()

    @contextmanager
    def running(self, folder: Path, llm_url: str) -> Iterator[Running]:
        with ChildProcesses(folder) as processes:
            redis = _redis(processes, folder)
            settings = {
                "REDIS_URL": f"redis://{redis.host}",
                "LLM_URL": llm_url,
                "POLL_SECONDS": str(POLL_SECONDS),
                "WORKER_THREADS": str(WORKER_THREADS),
            }
            worker = processes.start("celery", *_worker_command(), settings=settings)
            host = processes.reserve_host()
            api = processes.start("flask", *_api_command(host), host=host, settings=settings)
            wait_until_listening(api)
            yield JobApi(url=f"http://{host}", roots=[child.process.pid for child in (redis, worker, api)])


def _worker_command() -> tuple[str, ...]:
    pool = ("--pool", "threads", "--concurrency", str(WORKER_THREADS))
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR")
    return (venv_program("celery"), "-A", "celery_app:celery", "--workdir", str(PEERS), "worker", *pool, *quiet)


def _api_command(host: str) -> tuple[str, ...]:
    served = ("--chdir", str(PEERS), "--bind", host, "--workers", "1", "--threads", str(API_THREADS))
    return (venv_program("gunicorn"), "celery_app:app", *served, "--log-level", "error")


def _redis(processes: ChildProcesses, folder: Path) -> ChildProcess:
    host = processes.reserve_host()
    address, _, port = host.partition(":")
    durable = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
    place = ("--bind", address, "--port", port, "--dir", str(folder))
    redis = processes.start("redis", "redis-server", *place, *durable, host=host)
    wait_until_listening(redis)
    return redis


class RestatePeer:
    name = "Restate"

    def problem(self) -> str | None:
        return python_problem() or node_problem()

    @contextmanager
    def running(self, folder: Path, llm_url: str) -> Iterator[Running]:
        with ChildProcesses(folder) as processes:
            host = processes.reserve_host()
            settings = {"LLM_URL": llm_url, "POLL_SECONDS": str(POLL_SECONDS)}
            service = processes.start("service", *_service_command(host), host=host, settings=settings)
            wait_until_listening(service)
            server, ingress, admin = _restate(processes, folder)
            _register(admin, f"http://{host}")
            yield RestateIngress(url=f"http://{ingress}", roots=[child.process.pid for child in (server, service)])


def _service_command(host: str) -> tuple[str, ...]:
    address, _, port = host.partition(":")
    served = ("--interface", "asgi", "--http", "2", "--no-ws", "--loop", "uvloop", "--log-level", "error")
    place = ("--host", address, "--port", port, "--working-dir", str(PEERS))
    return (venv_program("granian"), "restate_app:app", *served, *place)


def _restate(processes: ChildProcesses, folder: Path) -> tuple[ChildProcess, str, str]:
    """Returns the server, and the addresses of its ingress and of its admin API."""
    ingress, admin, node = (processes.reserve_host() for _ in range(3))
    settings = {
        "DO_NOT_TRACK": "1",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RUST_LOG": "error",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": node,
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
    }
    command = (str(restate_server()), "--base-dir", str(folder / "restate"), "--node-name", "bench")
    server = processes.start("restate", *command, host=ingress, settings=settings)
    wait_until_listening(server)
    return server, ingress, admin


def _register(admin: str, service_url: str) -> None:
    def is_registered() -> bool:
        try:
            answer = httpx.post(f"http://{admin}/deployments", json={"uri": service_url}, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code in (200, 201)

    until(is_registered)
    time.sleep(1)  # the ingress learns of new services by polling
