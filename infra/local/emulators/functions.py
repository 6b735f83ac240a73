"""Runs the functions as the cloud does, one functions-framework process per function, and calls the sweeper."""

import asyncio
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

from infra.local.emulators.processes import POLL_INTERVAL_SECONDS, START_SECONDS, ChildProcess, ChildProcesses
from shared.errors import ConfigurationError
from shared.settings import Settings


def start_functions(settings: Settings, ports: Mapping[str, int], processes: ChildProcesses) -> dict[str, ChildProcess]:
    """Starts one process per function. Takes {function: port} and returns {function: process}."""
    framework = str(Path(sys.executable).with_name("functions-framework"))
    environment = settings.as_environment()
    return {
        name: processes.start(
            name, framework, "--target", name, "--host", "127.0.0.1", "--port", str(port), settings=environment
        )
        for name, port in ports.items()
    }


async def wait_until_healthy(url: str) -> None:
    """Returns when the function answers. Raises ConfigurationError when it does not answer in START_SECONDS."""
    for _ in range(int(START_SECONDS / POLL_INTERVAL_SECONDS)):
        try:
            await asyncio.to_thread(_request, f"{url}/health", "HEAD")
            return
        except OSError:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
    raise ConfigurationError(f"The function on {url} did not start; its log is in the emulators' folder.")


async def sweep_every(url: str, seconds: float) -> None:
    """Calls the sweeper each time so many seconds have passed, as Cloud Scheduler does."""
    while True:
        await asyncio.sleep(seconds)
        with suppress(OSError):
            await asyncio.to_thread(_request, url, "POST")


def _request(url: str, method: str) -> None:
    """Accepts any answer. Raises OSError when there is none."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10).close()
    except HTTPError as error:
        error.close()


def url_of(port: int) -> str:
    """Returns the URL of a port of this machine."""
    return f"http://127.0.0.1:{port}"
