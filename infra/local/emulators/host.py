"""Runs the same system on Google's emulators: one functions-framework process per function, behind a reverse proxy.

    python -m infra.local.emulators.host            serves until Ctrl-C, after one sample translation
    python -m infra.local.emulators.host --quiet    no sample
    python -m infra.local.emulators.host --front hosting    like Firebase Hosting: no stream before its end, 60 s

Ctrl-C ends everything, Java included. Google's emulators keep their data in memory, so each start is without data.
"""

import argparse
import asyncio
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from infra.local import console, docs
from infra.local.client import SAMPLE, translate
from infra.local.command_line import Server, bind, run_until_signal
from infra.local.emulators.functions import start_functions, sweep_every, url_of, wait_until_healthy
from infra.local.emulators.google import start_firestore, start_pubsub
from infra.local.emulators.google_setup import PushUrls, set_up
from infra.local.emulators.processes import ChildProcesses, wait_until_listening
from infra.local.env_file import read_env_file
from infra.local.reverse_proxy import FRONTS, ReverseProxy
from infra.local.routing import FUNCTIONS, PAGES
from infra.local.simulator import Simulator
from shared import wiring
from shared.domain.frozen import replace
from shared.errors import ConfigurationError
from shared.settings import REGIONS, Settings

PROJECT = "demo-llm-runs"
"""The project when GOOGLE_CLOUD_PROJECT is not set."""


async def serve(settings: Settings, options: argparse.Namespace) -> int:
    """Starts everything, shows the sample translation, and serves until it is cancelled. Returns the exit status."""
    folder = settings.data_dir.resolve() / "emulators"
    folder.mkdir(parents=True, exist_ok=True)
    with ChildProcesses(folder) as processes:
        settings = await start_emulators(settings, processes)
        simulator_socket = bind(0)
        simulator_port: int = simulator_socket.getsockname()[1]
        if not settings.own_llm:
            settings = replace(settings, deployments={name: f"{url_of(simulator_port)}/{name}" for name in REGIONS})
        ports = {name: processes.reserve_port() for name in FUNCTIONS}
        settings = replace(
            settings,
            recheck_url=url_of(ports["recheck_run"]),
            deliver_webhook_url=url_of(ports["deliver_webhook"]),
        )
        urls = PushUrls(process_run=url_of(ports["process_run"]), bury_run=url_of(ports["bury_run"]))
        start_functions(settings, ports, processes)
        wiring.use(settings)
        await set_up(settings, wiring.google_clients(), urls)
        await asyncio.gather(*[wait_until_healthy(url_of(port)) for port in ports.values()])
        front = ReverseProxy({**ports, PAGES: simulator_port}, hosting=FRONTS[options.front])
        proxy = await start_proxy(settings.port, front)
        sweeping = asyncio.create_task(
            sweep_every(url_of(ports["sweep_runs"]), settings.sweep_interval.total_seconds())
        )
        try:
            simulator = make_simulator(settings, folder)
            return await show(simulator, simulator_socket, proxy.sockets[0].getsockname()[1], settings, options)
        finally:
            sweeping.cancel()
            proxy.close()


async def start_emulators(settings: Settings, processes: ChildProcesses) -> Settings:
    """Starts the three emulators and returns the settings with their addresses. Raises ConfigurationError."""
    project, folder = settings.project or PROJECT, processes.folder
    firestore_host = settings.firestore_emulator or processes.reserve_host()
    pubsub_host = settings.pubsub_emulator or processes.reserve_host()
    firestore = processes.keep(start_firestore(folder, host=firestore_host))
    pubsub = processes.keep(start_pubsub(folder, host=pubsub_host, project=project))
    tasks = settings.tasks_emulator or processes.reserve_host()
    module = ("-m", "infra.local.emulators.tasks", "--host", tasks, "--folder", str(folder))
    tasks_emulator = processes.start("tasks-emulator", sys.executable, *module, host=tasks)
    for emulator in (firestore, pubsub, tasks_emulator):
        await asyncio.to_thread(wait_until_listening, emulator)
    return replace(
        settings,
        backend="gcp",
        project=project,
        firestore_emulator=firestore.host,
        pubsub_emulator=pubsub.host,
        tasks_emulator=tasks,
    )


def make_simulator(settings: Settings, folder: Path) -> Server:
    """Returns a server, not started yet, of the simulated LLM, the console and the API's documentation."""
    simulator = Simulator(seconds=settings.sim_seconds, path=folder / "simulator.jsonl")
    app = Starlette(routes=[*docs.routes(), *console.routes(), Mount("/", simulator.app())])
    return Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))


async def start_proxy(port: int, proxy: ReverseProxy) -> asyncio.Server:
    """Starts the reverse proxy on `port`. Raises ConfigurationError."""
    try:
        return await proxy.serve(bind(port))
    except OSError:
        raise ConfigurationError(f"Port {port} is taken; choose another: PORT=8081 make emulators") from None


async def show(
    simulator: Server, listening: socket.socket, port: int, settings: Settings, options: argparse.Namespace
) -> int:
    """Serves the simulator, prints the addresses, shows the sample, and waits for the end. Returns the exit status."""
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


def main() -> int:
    parser = argparse.ArgumentParser(description="Serves the whole system on Google's emulators.")
    parser.add_argument("--quiet", action="store_true", help="no sample translation")
    parser.add_argument("--text", default=SAMPLE, help="what to translate as a sample")
    parser.add_argument("--front", choices=FRONTS, default="direct", help="what is before the functions")
    options = parser.parse_args()
    try:
        read_env_file()
        return run_until_signal(serve(wiring.settings(), options)) or 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
