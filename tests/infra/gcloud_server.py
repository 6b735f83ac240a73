"""Runs gcloud commands in forks of one process that has loaded gcloud's code: each takes a tenth of a second, not one.

Runs in the Python of gcloud:  python gcloud_server.py FOLDER_OF_THE_SDK SOCKET
A command comes as JSON {argv, env, cwd} together with the file descriptors 0 to 2 of the process that calls. The answer
is the exit code.
"""

import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

PRELOADED = (
    "googlecloudsdk.calliope.cli", "googlecloudsdk.api_lib.util.apis", "googlecloudsdk.core.resource.resource_printer",
    "googlecloudsdk.command_lib.iam.iam_util", "googlecloudsdk.core.credentials.store",
    "googlecloudsdk.command_lib.util.apis.yaml_command_translator",
)  # fmt: skip


def main(sdk: str, address: str) -> None:
    sys.path[0:1] = [os.path.join(sdk, "lib"), os.path.join(sdk, "lib", "third_party")]
    sys.argv = [os.path.join(sdk, "lib", "gcloud.py")]
    launcher = importlib.import_module("gcloud")
    launcher._fix_google_module()
    gcloud_main = importlib.import_module("googlecloudsdk.gcloud_main")
    for name in PRELOADED:
        importlib.import_module(name)
    # gcloud can call a stand-in for each API but this one.
    properties = importlib.import_module("googlecloudsdk.core.properties")
    properties.VALUES.api_endpoint_overrides._Add("billingbudgets")
    # The commands of Cloud Run put the region before the stand-in's host.
    resolve = socket.getaddrinfo
    modules: Any = sys.modules
    modules["socket"].getaddrinfo = lambda host, *rest: resolve(str(host).rpartition("-")[2], *rest)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(8)
        while True:
            connection, _ = listening.accept()
            received, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
            told, telling = os.pipe()
            child = os.fork()
            if child == 0:
                _run(json.loads(received), descriptors, telling, gcloud_main)
            for descriptor in [*descriptors, telling]:
                os.close(descriptor)
            with open(told, encoding="utf-8") as pipe:
                loaded = pipe.read().split()
            _, status = os.waitpid(child, 0)
            with connection:
                connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
            _load(loaded)


def _load(names: list[str]) -> None:
    """Imports what the last command has imported, so that the next one finds it."""
    for name in names:
        if name not in sys.modules and name.startswith(("googlecloudsdk.", "apitools.", "google.auth")):
            with suppress(ImportError):
                importlib.import_module(name)


def _run(command: Any, descriptors: list[int], telling: int, gcloud_main: Any) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    sys.argv[1:] = command["argv"]
    code = 1
    try:
        code = int(gcloud_main.main() or 0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(telling, " ".join(sys.modules).encode()[:60_000])
        os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
