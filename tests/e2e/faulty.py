"""The functions as processes with a proxy before each of Google's services, for tests in which those fail."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx

from infra.local.emulators.functions import start_functions, url_of
from infra.local.emulators.google import start_pubsub
from infra.local.emulators.processes import ChildProcess, wait_until_listening
from infra.local.routing import FUNCTIONS
from shared.adapters.identity.embedded import EmbeddedTokens
from shared.domain.frozen import replace
from shared.domain.limits import Limits
from shared.settings import Settings
from tests.e2e.system import until
from tests.grpc_proxy import GrpcProxy
from tests.plain_http import NO_TLS
from tests.programs import ForkedProcesses

SWEEP_SECONDS = 1.0
GRACE_SECONDS = 2.0


class FaultySystem:
    """`firestore`, `pubsub` and `tasks` are the proxies; `functions` the processes by name."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        firestore_emulator: str,
        *,
        sweep_seconds: float = SWEEP_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep_seconds = sweep_seconds
        self._grace_seconds = grace_seconds
        self._stack = stack
        self._processes = stack.enter_context(ForkedProcesses(folder))
        self.project = f"demo-{uuid4().hex[:12]}"  # of its own: all share one Firestore
        self.pubsub_emulator = self._start_pubsub(self._processes.reserve_host())
        tasks = self._python("tasks", "infra.local.emulators.tasks", "--folder", str(folder))
        simulator = self._python(
            "simulator", "infra.local.simulator", "--file", str(folder / "simulator.jsonl"), "--silent"
        )
        for emulator in (self.pubsub_emulator, tasks, simulator):
            wait_until_listening(emulator)
        self.simulator_url = f"http://{simulator.host}"
        self.firestore = self._proxy(firestore_emulator)
        self.pubsub = self._proxy(self.pubsub_emulator.host)
        self.tasks = self._proxy(tasks.host)
        self.ports = {name: self._processes.reserve_port() for name in FUNCTIONS}
        self.settings = self._settings(folder)
        self.set_up()
        self.functions = self._start(self.ports)
        for port in self.ports.values():
            until(partial(answers, url_of(port)))
        self._sweeping = threading.Event()
        threading.Thread(target=self._sweep, daemon=True).start()
        stack.callback(self._sweeping.set)

    def stop(self) -> None:
        self._stack.close()

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self._processes.folder.glob("*_run*.log"))

    def client(self, function: str) -> httpx.Client:
        token = EmbeddedTokens(self.settings.data_dir).mint("demo")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        return httpx.Client(
            base_url=url_of(self.ports[function]), headers=headers, timeout=60, trust_env=False, verify=NO_TLS
        )

    def restart(self, function: str) -> None:
        """kill -9 of the function's processes, and new ones on the same port."""
        self.functions[function].kill()
        self.start(function)

    def start(self, function: str) -> None:
        """Starts a function that was killed, on the same port."""
        self.functions.update(self._start({function: self.ports[function]}))
        until(lambda: answers(url_of(self.ports[function])))

    def restart_pubsub_empty(self) -> None:
        self.pubsub_emulator.kill()
        self.pubsub_emulator = self._start_pubsub(self.pubsub_emulator.host)
        wait_until_listening(self.pubsub_emulator)

    def jobs_per_run(self) -> dict[str, int]:
        jobs: dict[str, int] = httpx.get(f"{self.simulator_url}/stats", trust_env=False).json()["jobs_per_run"]
        return jobs

    def _settings(self, folder: Path) -> Settings:
        """Those of the functions: they know the proxies only."""
        return Settings(
            backend="gcp",
            project=self.project,
            data_dir=folder,
            firestore_emulator=self.firestore.host,
            pubsub_emulator=self.pubsub.host,
            tasks_emulator=self.tasks.host,
            recheck_url=url_of(self.ports["recheck_run"]),
            deliver_webhook_url=url_of(self.ports["deliver_webhook"]),
            sweep_interval=timedelta(seconds=self._sweep_seconds),
            pending_grace=timedelta(seconds=self._grace_seconds),
            limits=Limits(submits_a_minute=10_000, open_runs=1000),
            deployments=dict.fromkeys(("europe", "tokyo", "default"), self.simulator_url),
        )

    def set_up(self) -> None:
        """In a process of its own: gRPC for asyncio likes one event loop a process."""
        urls = [url_of(self.ports[name]) for name in ("process_run", "bury_run")]
        direct = replace(
            self.settings,
            firestore_emulator=self.firestore.target,
            pubsub_emulator=self.pubsub_emulator.host,
            tasks_emulator=self.tasks.target,
        )
        command = (sys.executable, "-m", "infra.local.emulators.google_setup", *urls)
        started = self._processes.start("set-up", *command, settings=direct.as_environment())
        assert started.process.wait(timeout=60) == 0, started.log.read_text()

    def _start(self, ports: dict[str, int]) -> dict[str, ChildProcess]:
        return start_functions(self.settings, ports, self._processes)

    def _python(self, name: str, module: str, *options: str) -> ChildProcess:
        host = self._processes.reserve_host()
        return self._processes.start(name, sys.executable, "-m", module, "--host", host, *options, host=host)

    def _proxy(self, target: str) -> GrpcProxy:
        proxy = GrpcProxy(target)
        self._stack.callback(proxy.close)
        return proxy

    def _start_pubsub(self, host: str) -> ChildProcess:
        folder = self._processes.folder
        return self._processes.keep(start_pubsub(folder, host=host, project=self.project))

    def _sweep(self) -> None:
        """Sweeps at a fixed rate: the time of a pass says which shard it patrols, and delays would leave shards out."""
        due = time.monotonic()
        while not self._sweeping.wait(max(due - time.monotonic(), 0)):
            due = max(due + self._sweep_seconds, time.monotonic())
            try:
                httpx.post(url_of(self.ports["sweep_runs"]), timeout=60, trust_env=False, verify=NO_TLS)
            except httpx.TransportError:
                continue


@contextmanager
def faulty_system(folder: Path, firestore_emulator: str) -> Iterator[FaultySystem]:
    with ExitStack() as stack:
        yield FaultySystem(stack, folder, firestore_emulator)


def answers(url: str) -> bool:
    try:
        return httpx.head(f"{url}/health", trust_env=False, verify=NO_TLS).status_code > 0
    except httpx.TransportError:
        return False
