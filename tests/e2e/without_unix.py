"""Runs the local host as far as Linux can look like Windows: without the modules and functions that Windows lacks."""

import os
import runpy
import signal
import sys

MODULES = ("fcntl", "grp", "gunicorn", "pwd", "resource", "termios", "uvloop")
FUNCTIONS = ("chown", "fchmod", "fork", "getpgid", "getuid", "killpg", "mkfifo", "setsid")
SIGNALS = ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "pthread_sigmask")

for module in MODULES:
    sys.modules[module] = None  # type: ignore[assignment]
for place, names in ((os, FUNCTIONS), (signal, SIGNALS)):
    for name in names:
        delattr(place, name)

import filelock  # noqa: E402 - it looks for fcntl

filelock.AsyncFileLock = (
    filelock.AsyncSoftFileLock
)  # Windows has a lock of its own, this machine without fcntl has none
runpy.run_module("infra.local.embedded.host", run_name="__main__")
