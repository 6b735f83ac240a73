"""The same system on Google's emulators: each function its own functions-framework process, one front door.

    python -m infra.local.cloud            serves until Ctrl-C, after one sample translation
    python -m infra.local.cloud --quiet    no sample

Ctrl-C ends everything, Java included. Google's emulators hold their data in memory: another start is a fresh one.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self
from urllib.error import HTTPError

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from infra.local import docs, emulators
from infra.local.client import SAMPLE, translate
from infra.local.command_line import Server, run_until_signal
from infra.local.emulators import Emulator, kill_all
from infra.local.env_file import read_env_file
from infra.local.front_door import FrontDoor
from infra.local.google_setup import PushUrls, set_up
from infra.local.host import bind
from infra.local.ports import reserved_port
from infra.local.routing import DOCS
from infra.local.simulator import Simulator
from shared import wiring
from shared.errors import ConfigurationError
from shared.settings import REGIONS, Settings

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("submit_run", "process_run", "recheck_run", "read_runs", "sweep_runs", "bury_run")
PROJECT = "demo-llm-runs"
START_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.05


class Processes:
    """Child processes, each with a log and a process group of its own, and the ports that are reserved for them.

    The end of the `with` block ends all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._started: list[Emulator] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill_all(self._started)
        self._stack.close()

    def start(self, name: str, *command: str, host: str = "", settings: Mapping[str, str] | None = None) -> Emulator:
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            given = [f"{key}={value}" for key, value in (settings or {}).items()]
            process = subprocess.Popen(
                ["env", *given, *command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.keep(Emulator(name, host, process, log))

    def keep(self, started: Emulator) -> Emulator:
        self._started.append(started)
        return started

    def reserve_port(self) -> int:
        return self._stack.enter_context(reserved_port())

    def reserve_host(self) -> str:
        return f"127.0.0.1:{self.reserve_port()}"


async def serve(settings: Settings, options: argparse.Namespace) -> int:
    """Until Ctrl-C. The exit status."""
    folder = settings.data_dir.resolve() / "emulators"
    folder.mkdir(parents=True, exist_ok=True)
    with Processes(folder) as processes:
        settings = await start_emulators(settings, processes)
        simulator_socket = bind(0)
        simulator_port: int = simulator_socket.getsockname()[1]
        if not settings.own_llm:
            settings = replace(settings, deployments={name: f"{url_of(simulator_port)}/{name}" for name in REGIONS})
        ports = {name: processes.reserve_port() for name in FUNCTIONS}
        settings = replace(settings, recheck_url=url_of(ports["recheck_run"]))
        urls = PushUrls(process_run=url_of(ports["process_run"]), bury_run=url_of(ports["bury_run"]))
        start_functions(settings, ports, processes)
        wiring.use(settings)
        await set_up(settings, wiring.google_clients(), urls)
        await asyncio.gather(*[until_answering(url_of(port)) for port in ports.values()])
        door = await open_door(settings.port, {**ports, DOCS: simulator_port})
        sweeping = asyncio.create_task(
            sweep_every(url_of(ports["sweep_runs"]), settings.sweep_interval.total_seconds())
        )
        try:
            simulator = make_simulator(settings, folder)
            return await show(simulator, simulator_socket, door.sockets[0].getsockname()[1], settings, options)
        finally:
            sweeping.cancel()
            door.close()


async def start_emulators(settings: Settings, processes: Processes) -> Settings:
    """The settings with which functions reach them. Raises ConfigurationError."""
    project, folder = settings.project or PROJECT, processes.folder
    firestore_host = settings.firestore_emulator or processes.reserve_host()
    pubsub_host = settings.pubsub_emulator or processes.reserve_host()
    firestore = processes.keep(emulators.start_firestore(folder, host=firestore_host))
    pubsub = processes.keep(emulators.start_pubsub(folder, host=pubsub_host, project=project))
    tasks = settings.tasks_emulator or processes.reserve_host()
    module = ("-m", "infra.local.tasks_emulator", "--host", tasks, "--folder", str(folder))
    tasks_emulator = processes.start("tasks-emulator", sys.executable, *module, host=tasks)
    for emulator in (firestore, pubsub, tasks_emulator):
        await asyncio.to_thread(emulators.wait_until_ready, emulator)
    return replace(
        settings,
        backend="gcp",
        project=project,
        firestore_emulator=firestore.host,
        pubsub_emulator=pubsub.host,
        tasks_emulator=tasks,
    )


def make_simulator(settings: Settings, folder: Path) -> Server:
    """Returns a server that is still to be served; it has the API's documentation too."""
    simulator = Simulator(seconds=settings.sim_seconds, path=folder / "simulator.jsonl")
    app = Starlette(routes=[*docs.routes(), Mount("/", simulator.app())])
    return Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))


def start_functions(settings: Settings, ports: Mapping[str, int], processes: Processes) -> dict[str, Emulator]:
    framework = str(Path(sys.executable).with_name("functions-framework"))
    given = settings.as_environment()
    return {
        name: processes.start(
            name, framework, "--target", name, "--host", "127.0.0.1", "--port", str(port), settings=given
        )
        for name, port in ports.items()
    }


async def open_door(port: int, ports: Mapping[str, int]) -> asyncio.Server:
    try:
        return await FrontDoor(ports).serve(port)
    except OSError:
        raise ConfigurationError(f"Port {port} is taken; choose another: PORT=8081 make emulators") from None


async def show(
    simulator: Server, listening: socket.socket, port: int, settings: Settings, options: argparse.Namespace
) -> int:
    serving = asyncio.create_task(simulator.serve(sockets=[listening]))
    print(f"GOOGLE_CLOUD_PROJECT={settings.project}")
    print(f"FIRESTORE_EMULATOR_HOST={settings.firestore_emulator}")
    print(f"PUBSUB_EMULATOR_HOST={settings.pubsub_emulator}")
    print(f"CLOUD_TASKS_EMULATOR_HOST={settings.tasks_emulator}")
    print(f"ready on {url_of(port)}", flush=True)
    try:
        if not options.quiet:
            await translate(url_of(port), wiring.embedded_tokens().mint("demo"), options.text)
            logs = f"{settings.data_dir}/emulators"
            print(f"\nStill serving on {url_of(port)}; logs are in {logs}. Ctrl-C ends it.", flush=True)
        await asyncio.wait((serving,))
        return 0
    finally:
        simulator.should_exit = True
        await serving


async def sweep_every(url: str, seconds: float) -> None:
    """What Cloud Scheduler does."""
    while True:
        await asyncio.sleep(seconds)
        with suppress(OSError):
            await asyncio.to_thread(_request, url, "POST")


async def until_answering(url: str) -> None:
    """Raises ConfigurationError when a function does not come up."""
    for _ in range(int(START_SECONDS / LOOK_EVERY_SECONDS)):
        try:
            await asyncio.to_thread(_request, f"{url}/health", "HEAD")
            return
        except OSError:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    raise ConfigurationError(f"The function on {url} did not start; its log is in the emulators' folder.")


def _request(url: str, method: str) -> None:
    """Any answer will do. Raises OSError when there is none."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10).close()
    except HTTPError as error:
        error.close()


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Serves the whole system on Google's emulators.")
    parser.add_argument("--quiet", action="store_true", help="no sample translation")
    parser.add_argument("--text", default=SAMPLE, help="what to translate as a sample")
    options = parser.parse_args()
    try:
        read_env_file()
        return run_until_signal(serve(wiring.settings(), options)) or 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
