"""Runs the whole system in one process: the functions' apps behind one port, the broker, the sweeper, a simulated LLM.

python -m infra.local.embedded.host            serves until Ctrl-C, after one sample translation
python -m infra.local.embedded.host --once     ends after the sample; exit 0 only if it completed
python -m infra.local.embedded.host --text T   translates T as the sample
python -m infra.local.embedded.host --quiet    no sample
python -m infra.local.embedded.host --public FOLDER    also serves the pages of a front end, from the same origin
python -m infra.local.embedded.host --capacity process_run=10    answers 429 when process_run has 10 open requests
python -m infra.local.embedded.host --front hosting    like Firebase Hosting: no stream before its end, 60 s
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local import console, docs
from infra.local.broker import Broker
from infra.local.client import SAMPLE, translate
from infra.local.command_line import Server, bind, leave, print_any_character, run_until_signal
from infra.local.embedded.asgi import app_of, post
from infra.local.embedded.capacity import Capacity
from infra.local.embedded.pages import Pages
from infra.local.env_file import read_env_file
from infra.local.fixtures import put_fixtures
from infra.local.requests_of_google import FUNCTION_OF, FUNCTION_OF_QUEUE, push_body, task_headers
from infra.local.reverse_proxy import FRONTS, ReverseProxy
from infra.local.routing import FUNCTIONS, PAGES, function_for
from infra.local.simulator import Simulator
from shared import log, tracing, wiring
from shared.adapters.sqlite.delivery import Message, Task
from shared.domain.frozen import replace
from shared.domain.json_text import from_text
from shared.errors import ConfigurationError, ServiceError
from shared.settings import REGIONS, Settings

BACKLOG = 2048
make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with suppress(ImportError):  # uvloop is not made for Windows
    import uvloop

    make_loop = uvloop.new_event_loop


class LocalHost:
    """An ASGI app for two ports: the simulated LLM on `simulator_port`, the service on any other."""

    def __init__(
        self,
        simulator: ASGIApp | None,
        simulator_port: int | None,
        pages: Pages | None = None,
        *,
        capacity: Mapping[str, int],
    ) -> None:
        """`capacity` is {function: the maximum number of its open requests}; the others have no limit."""
        functions = import_module("main")  # not before the settings are complete, which it reads
        self._apps: dict[str, ASGIApp] = {name: app_of(getattr(functions, name)) for name in FUNCTIONS}
        self._apps |= {name: Capacity(self._apps[name], limit) for name, limit in capacity.items()}
        self._apps[PAGES] = Starlette(routes=[*docs.routes(), *console.routes()])
        self._simulator = simulator
        self._simulator_port = simulator_port
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._simulator is not None and scope["server"][1] == self._simulator_port:
            await self._simulator(scope, receive, send)
        elif self._pages is not None and (page := await self._pages.find(scope)) is not None:
            await page(scope, receive, send)
        else:
            await self._apps[function_for(scope["path"], method=scope["method"])](scope, receive, send)

    async def deliver_message(self, topic: str, message: Message) -> int:
        """Pushes the message to the function of its topic, as Pub/Sub does; returns the HTTP status."""
        return await self._post(FUNCTION_OF[topic], push_body(topic, message))

    async def deliver_task(self, task: Task) -> int:
        """Calls the function of the task's queue, as Cloud Tasks does; returns the HTTP status."""
        traceparent = from_text(task.body).get(tracing.HEADER)
        headers = task_headers(task, queue=task.queue) | ({tracing.HEADER: traceparent} if traceparent else {})
        return await self._post(FUNCTION_OF_QUEUE[task.queue], task.body.encode(), **headers)

    async def sweep(self) -> int:
        """Calls sweep_runs, as Cloud Scheduler does; returns the HTTP status."""
        return await self._post("sweep_runs", b"{}", **{"X-CloudScheduler": "true"})

    async def _post(self, function: str, body: bytes, **headers: str) -> int:
        return await post(self._apps[function], path="/", body=body, headers=headers)


def bind_simulator(port: int) -> socket.socket:
    """Returns a socket that is bound to the port, or to any free port when another program uses this one."""
    try:
        return bind(port)
    except OSError:
        return bind(0)


async def sweep_every(host: LocalHost, seconds: float) -> None:
    """Calls the sweeper each time so many seconds have passed, until it is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await host.sweep()


async def serve(settings: Settings, sockets: list[socket.socket], options: argparse.Namespace) -> int:
    """Serves until it is cancelled, or until the sample is done with --once. Returns the exit status."""
    port = sockets[0].getsockname()[1]
    simulator_port = sockets[1].getsockname()[1] if len(sockets) > 1 else None
    simulator = (
        Simulator(seconds=settings.sim_seconds, path=settings.data_dir / "simulator.jsonl") if simulator_port else None
    )
    pages = Pages(options.public) if options.public else None
    host = LocalHost(simulator.app() if simulator else None, simulator_port, pages, capacity=dict(options.capacity))
    backend = wiring.sqlite()
    await put_fixtures(backend.directory, settings)
    broker = Broker(backend.deliveries, deliver_task=host.deliver_task, deliver_message=host.deliver_message)
    backend.on_work = broker.wake
    config = uvicorn.Config(
        host,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        backlog=BACKLOG,
    )
    server = Server(config)
    background = [
        _start(broker.serve(settings.data_dir / "broker.lock", on_takeover=wiring.services().recover), server),
        _start(sweep_every(host, settings.sweep_interval.total_seconds()), server),
    ]
    front, sockets = await put_before(sockets, options.front)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        return await _show(server, serving, f"http://127.0.0.1:{port}", options)
    finally:
        server.should_exit = True
        if front is not None:
            front.close()
        await serving
        for task in background:
            task.cancel()


async def put_before(sockets: list[socket.socket], front: str) -> tuple[asyncio.Server | None, list[socket.socket]]:
    """Lets the front of this name listen on the first socket. Returns it, and the sockets for the server behind it."""
    if FRONTS[front] is None:
        return None, sockets
    behind = bind(0)
    ports = dict.fromkeys((*FUNCTIONS, PAGES), behind.getsockname()[1])
    return await ReverseProxy(ports, hosting=FRONTS[front]).serve(sockets[0]), [behind, *sockets[1:]]


async def _show(server: uvicorn.Server, serving: asyncio.Task[None], url: str, options: argparse.Namespace) -> int:
    print(f"ready on {url}", flush=True)
    completed = True
    if not options.quiet:
        token = wiring.embedded_tokens().mint("demo")
        completed = await translate(url, token, options.text)
    if options.once:
        server.should_exit = True
    elif not options.quiet:
        print(
            f"\nStill serving on {url}. Open it in a browser, or try the README's curl lines; Ctrl-C ends it.",
            flush=True,
        )
    await asyncio.wait((serving,))
    return 0 if completed else 1


def _start(work: Coroutine[Any, Any, None], server: uvicorn.Server) -> asyncio.Task[None]:
    """Starts a background task that must not end. When it raises, the server stops, because it needs the task."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.failure("background task ended", error)
            print("stopped: a background task failed; the last lines of runs.log show its error", file=sys.stderr)
            server.should_exit = True

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    return task


def main() -> int:
    parser = argparse.ArgumentParser(description="Serves the whole system from this process.")
    parser.add_argument("--once", action="store_true", help="end after the sample translation")
    parser.add_argument("--quiet", action="store_true", help="no sample translation")
    parser.add_argument("--public", type=Path, help="a folder of pages to serve besides")
    parser.add_argument("--text", default=SAMPLE, help="what to translate as a sample")
    parser.add_argument(
        "--capacity",
        action="append",
        default=[],
        type=read_capacity,
        metavar="FUNCTION=REQUESTS",
        help="how many requests a function takes at once; more get 429",
    )
    parser.add_argument("--front", choices=FRONTS, default="direct", help="what is before the functions")
    options = parser.parse_args()
    print_any_character()
    try:
        read_env_file()
        settings, sockets = prepare()
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    log.configure(stream=(settings.data_dir / "runs.log").open("a", buffering=1), minimum=settings.log_level)
    try:
        status = run_until_signal(serve(settings, sockets, options), make_loop=make_loop)
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    return int(options.once) if status is None else status


def read_capacity(text: str) -> tuple[str, int]:
    """Returns (function, limit) of `FUNCTION=REQUESTS`. Raises ArgumentTypeError."""
    name, _, limit = text.partition("=")
    if name not in FUNCTIONS or not limit.isdecimal() or int(limit) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not FUNCTION=REQUESTS with one of {', '.join(FUNCTIONS)}")
    return name, int(limit)


def prepare() -> tuple[Settings, list[socket.socket]]:
    """Returns the settings and the bound sockets: the service's, and the simulator's unless LLM_DEPLOYMENTS is set.

    The settings have the simulator's real port in `deployments`. Raises ConfigurationError.
    """
    settings = wiring.settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        sockets = [bind(settings.port)]
    except OSError:
        raise ConfigurationError(f"Port {settings.port} is taken; choose another: PORT=8081 make run") from None
    if not settings.own_llm:
        sockets.append(bind_simulator(settings.sim_port))
        port = sockets[1].getsockname()[1]
        settings = replace(settings, deployments={name: f"http://127.0.0.1:{port}/{name}" for name in REGIONS})
        wiring.use(settings)
        settings = wiring.settings()
    return settings, sockets


if __name__ == "__main__":
    leave(main())
