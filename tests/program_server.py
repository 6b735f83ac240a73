"""Starts the product's programs as forks of this process, which has imported their code (tests/programs.py asks it to).

    python -m tests.program_server 5

5 is the file descriptor of a socket. A request on it is JSON {words, environment, folder} together with the file
descriptors 0 to 2 of the new program; the answer is its process id. This process only imports, as gunicorn's parent
does before it forks: it makes no client, no thread and no event loop, and it reads no settings. It ends when the other
end of the socket is closed.
"""

import gc
import io
import json
import os
import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

MODULES = (
    "infra.cli", "infra.local.embedded.host", "infra.local.emulators.google_setup", "infra.local.emulators.tasks",
    "infra.local.simulator",
)  # fmt: skip
"""The programs that are started with `python -m`."""
IMPORTED_LATER = (
    "anyio._backends._asyncio", "functions_framework._cli", "functions_framework._http.gunicorn", "gunicorn.ctl.server",
    "gunicorn.glogging", "uvicorn.lifespan.off", "uvicorn.loops.auto", "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto", "uvicorn_worker",
)  # fmt: skip
"""What the programs import only when they run, beside modules of their own."""
MAX_REQUEST_BYTES = 1 << 18


def main() -> None:
    import_everything()
    requests = socket.socket(fileno=int(sys.argv[1]))
    while (received := socket.recv_fds(requests, MAX_REQUEST_BYTES, 3))[0]:
        descriptors = received[1]
        told, telling = os.pipe()
        if (between := os.fork()) == 0:
            if os.fork() != 0:
                os._exit(0)  # the program is now a child of the tests' process (prctl(2), PR_SET_CHILD_SUBREAPER)
            os.setsid()
            os.write(telling, str(os.getpid()).encode())
            close([requests.detach(), told, telling])
            use(descriptors)
            become(**json.loads(received[0]))
            return
        os.waitpid(between, 0)
        requests.sendall(os.read(told, 100))
        close([*descriptors, told, telling])


def import_everything() -> None:
    """Imports what the programs import, but for main.py, which reads the settings."""
    for package in ("functions", "shared"):
        for module in walk_packages([package], f"{package}."):
            import_module(module.name)
    for name in (*MODULES, *IMPORTED_LATER):
        import_module(name)
    gc.collect()
    gc.freeze()  # the collector of a program need not look at what it shares with all others


def use(descriptors: list[int]) -> None:
    """Makes them this process's descriptors 0 to 2, and sys.stdin, sys.stdout and sys.stderr new objects for them."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    close(descriptors)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)


def close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def become(words: list[str], environment: dict[str, str], folder: str) -> None:
    """Runs the program as Python does that is started for it: `-m module`, or the path of a script."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if words[0] == "-m":
        _, module, *options = words
        sys.argv = [module, *options]
        sys.path[:1] = [folder, *filter(None, [environment.get("PYTHONPATH")])]
        sys.modules.pop(module)
        name_process(module.removeprefix("infra.").removeprefix("local."))
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).parent)
        name_process(" ".join(words[2:3]))
        runpy.run_path(words[0], run_name="__main__")


def name_process(name: str) -> None:
    """Shows the name in `ps -o comm` and `top`; the command line of a fork stays that of this process."""
    Path("/proc/self/comm").write_text(name[:15])


if __name__ == "__main__":
    main()
