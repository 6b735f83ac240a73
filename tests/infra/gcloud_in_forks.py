"""The real gcloud as a command that takes a tenth of a second, not one: it runs in forks of one process."""

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def gcloud_server(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Puts a command `gcloud` into the folder; see gcloud_server.py."""
    found = subprocess.check_output(
        ["gcloud", "info", "--format=value(installation.sdk_root,basic.python_location)"], text=True
    )
    sdk, python = found.split()
    address, here = folder / "socket", Path(__file__).parent
    words = shlex.join([sys.executable, "-S", "-E", str(here / "gcloud_shim.py"), str(address)])
    (folder / "gcloud").write_text(
        f'#!/bin/sh\n[ "$1 $2" = "auth print-access-token" ] && exec echo token\nexec {words} "$@"\n'
    )
    (folder / "gcloud").chmod(0o755)
    server = subprocess.Popen([python, str(here / "gcloud_server.py"), sdk, str(address)], env=environment)
    try:
        while not address.exists() and server.poll() is None:
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()
