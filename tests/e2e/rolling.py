"""Two releases side by side on Google's emulators: their functions share runs, messages and tasks."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from infra.local.command_line import bind
from infra.local.emulators.functions import url_of
from infra.local.emulators.processes import ChildProcess
from infra.local.reverse_proxy import ReverseProxy
from tests.e2e.faulty import FaultySystem, answers
from tests.e2e.system import ROOT, until

RELEASE_0_2_0 = "e7d8f2dc4a5f330530a0912a01fbdc50854bf567"
"""The commit of the release before this one."""


def unpacked(commit: str, folder: Path) -> Path | None:
    """Writes the functions' source of a commit into the folder and returns it; None if the clone has no such commit."""
    command = ["git", "archive", "--format=tar", commit, "functions", "main.py", "shared"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True)
    if archive.returncode != 0:
        return None
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


class Turns(Mapping[str, int]):
    """{any function: the port whose turn it is}, for a proxy that sends its requests to several ports in turn."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.send_to(ports)

    def send_to(self, ports: Sequence[int]) -> None:
        self._turns = cycle(ports)

    def __getitem__(self, name: str) -> int:
        return next(self._turns)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a proxy asks for one function at a time")

    def __len__(self) -> int:
        return 1


class RollingSystem(FaultySystem):
    """Each function of the earlier release and of this one has a port; a front before both sends requests to either."""

    def __init__(
        self, stack: ExitStack, folder: Path, firestore_emulator: str, *, earlier: Path, **seconds: float
    ) -> None:
        self._earlier = earlier
        self._turns: dict[str, Turns] = {}
        self._ports_of: dict[str, list[int]] = {}
        self._loop = asyncio.new_event_loop()
        super().__init__(stack, folder, firestore_emulator, **seconds)

    def send_to(self, *releases: int) -> None:
        """Sends all requests from now on to these releases in turn: 0 is the earlier one, 1 is this one."""
        for name, turns in self._turns.items():
            turns.send_to([self._ports_of[name][release] for release in releases])

    def _start(self, ports: dict[str, int]) -> dict[str, ChildProcess]:
        for name in ports:
            self._ports_of[name] = [self._processes.reserve_port() for _ in range(2)]
        for name, (port, _) in self._ports_of.items():
            framework = str(Path(sys.executable).with_name("functions-framework"))
            command = (framework, "--target", name, "--host", "127.0.0.1", "--port", str(port))
            settings = self.settings.as_environment()
            self._processes.start(f"earlier-{name}", "env", "-C", str(self._earlier), "--", *command, settings=settings)
        started = super()._start({name: port for name, (_, port) in self._ports_of.items()})
        for pair in self._ports_of.values():
            for port in pair:
                until(partial(answers, url_of(port)))
        self._turns = {name: Turns(pair) for name, pair in self._ports_of.items()}
        self.send_to(0)
        self._serve_fronts(ports)
        return started

    def _serve_fronts(self, ports: dict[str, int]) -> None:
        fronts = [ReverseProxy(self._turns[name]).serve(bind(port)) for name, port in ports.items()]
        servers = [self._loop.run_until_complete(front) for front in fronts]
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()

        def stop() -> None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            for server in servers:
                server.close()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0.1))
            self._loop.close()

        self._stack.callback(stop)
