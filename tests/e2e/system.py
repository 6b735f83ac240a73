"""The system as a user starts it: real processes, free ports, a folder of its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import EventSource

from shared.adapters.clock import SystemClock
from shared.adapters.identity.embedded import EmbeddedTokens
from shared.adapters.sqlite.backend import SqliteBackend
from tests.plain_http import NO_TLS
from tests.programs import ForkedPopen

ROOT = Path(__file__).parents[2]
MIN_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ours = {"DATA_DIR": str(data_dir), "PORT": "0", "LLM_SIM_PORT": "0", "PYTHONUNBUFFERED": "1"}
    own_env_file = {"PYTHON_DOTENV_DISABLED": "1"}  # a developer's .env changes no test
    return {**kept, **ours, **own_env_file, "SUBMITS_PER_MINUTE": "0", **settings}


class System:
    """The local host as a process; `stop` is Ctrl-C, `kill` is kill -9.

    `env_file` has settings that the process reads from the file `.env` in the folder where it starts.
    """

    module = "infra.local.embedded.host"

    def __init__(
        self, data_dir: Path, *options: str, env_file: Mapping[str, str] | None = None, **settings: str
    ) -> None:
        self.data_dir = data_dir
        self._options = options
        self.printed: dict[str, str] = {}
        self._started_in = ROOT
        self._environment = environment(data_dir, **settings)
        if env_file is not None:
            self._started_in = data_dir.parent
            self._environment |= {"PYTHONPATH": str(ROOT), "PYTHON_DOTENV_DISABLED": "0"}
            (data_dir.parent / ".env").write_text("".join(f"{name}={value}\n" for name, value in env_file.items()))
        self._tokens: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", self.module, "--quiet", *self._options]
        with (self.data_dir.parent / "stderr").open("a") as errors:
            self.process: subprocess.Popen[str] = ForkedPopen(
                command,
                cwd=self._started_in,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        while not (line := self.process.stdout.readline()).startswith("ready on "):
            assert line, self.errors()
            name, _, value = line.strip().partition("=")
            self.printed[name] = value
        self.url = line.split()[-1]

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(timeout=30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def token(self, user: str = "demo") -> str:
        if user not in self._tokens:
            self._tokens[user] = EmbeddedTokens(self.data_dir).mint(user)
        return self._tokens[user]

    def client(self, user: str = "demo", url: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return httpx.Client(base_url=url or self.url, headers=headers, timeout=30, trust_env=False, verify=NO_TLS)

    def put(self, collection: str, document_id: str, document: dict[str, Any]) -> None:
        """A record of the directory."""
        with closing(SqliteBackend(self.data_dir / "runs.db", SystemClock())) as backend:
            asyncio.run(backend.directory.put(collection, document_id, document))

    def errors(self) -> str:
        return (self.data_dir.parent / "stderr").read_text()

    @property
    def folder(self) -> Path:
        return self.data_dir

    def log(self) -> str:
        return (self.folder / "runs.log").read_text()

    def simulator_jobs(self) -> list[dict[str, Any]]:
        lines = (self.folder / "simulator.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line]


class Cloud(System):
    """The same on Google's emulators, each function its own process; what it prints before it is ready is `printed`."""

    module = "infra.local.emulators.host"

    @property
    def folder(self) -> Path:
        return self.data_dir / "emulators"

    @property
    def documents(self) -> str:
        """Where the emulator's REST interface has them."""
        project, host = self.printed["GOOGLE_CLOUD_PROJECT"], self.printed["FIRESTORE_EMULATOR_HOST"]
        return f"http://{host}/v1/projects/{project}/databases/(default)/documents"

    def put(self, collection: str, document_id: str, document: dict[str, Any]) -> None:
        fields = {name: _firestore_value(value) for name, value in document.items()}
        url, owner = f"{self.documents}/{collection}/{document_id}", {"Authorization": "Bearer owner"}
        assert httpx.patch(url, json={"fields": fields}, headers=owner, trust_env=False).status_code == 200

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*_run*.log"))


def _firestore_value(value: str | list[str]) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    return {"arrayValue": {"values": [_firestore_value(entry) for entry in value]}}


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def updates(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream: id, event, data (read as JSON)."""
    for event in EventSource(response).iter_sse():
        if event.data:
            yield {"id": event.id, "event": event.event, "data": json.loads(event.data)}


def until(condition: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """What the condition gave, soon after it is true: it is asked less often the longer it takes."""
    began = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, "waited in vain"
        time.sleep(min(max(waited / 10, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))
    return value


def until_all_ended(client: httpx.Client, run_ids: Iterable[str], *, seconds: float = 60.0) -> list[dict[str, Any]]:
    """The answers to questions for the status of each run, once none of them is open.

    A run is asked for when those before it have ended: to ask for all again and again costs more than the runs do.
    """
    ends = time.monotonic() + seconds
    return [until(partial(_if_ended, client, run_id), seconds=ends - time.monotonic()) for run_id in run_ids]


def _if_ended(client: httpx.Client, run_id: str) -> dict[str, Any] | None:
    run: dict[str, Any] = client.get(f"/api/llm/jobs/{run_id}/status/").json()
    return run if run.get("is_complete") else None
