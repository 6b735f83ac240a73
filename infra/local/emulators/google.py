"""Starts Google's own Firestore and Pub/Sub emulators as child processes."""

import os
import shutil
from pathlib import Path

from infra.local.emulators.processes import ChildProcess, start_process
from shared.errors import ConfigurationError

HOW_TO_INSTALL = (
    "Google's emulators are missing; install the Google Cloud CLI (cloud.google.com/sdk), Java 11 or newer, and run: "
    "gcloud components install beta cloud-firestore-emulator pubsub-emulator"
)

JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java starts with half the CPU time when it has only its first compiler and the simplest garbage collector."""


FIRESTORE_PROGRAM = "cloud-firestore-emulator/cloud_firestore_emulator"
PUBSUB_PROGRAM = "pubsub-emulator/bin/cloud-pubsub-emulator"
"""In the folder `platform` of the Google Cloud CLI; gcloud gives both the options that it is given."""


def missing_software() -> str | None:
    """Returns None, or how to install the emulators when this machine lacks gcloud or Java."""
    return None if shutil.which("gcloud") and shutil.which("java") else HOW_TO_INSTALL


def start_firestore(folder: Path, *options: str, host: str) -> ChildProcess:
    """Starts it on `host` ("host:port"), with its log in `folder`. Raises ConfigurationError when it is missing.

    `options` are more words of the command.
    """
    command = ["gcloud", "emulators", "firestore", "start", *options, f"--host-port={host}"]
    own = ["start", "--database-mode=firestore-native", *options, *_address(host)]
    return _start("firestore", _without_gcloud(FIRESTORE_PROGRAM, own) or command, folder, host)


def start_pubsub(folder: Path, *, host: str, project: str) -> ChildProcess:
    """Starts it on `host` ("host:port"), with its log in `folder`. Raises ConfigurationError when it is missing."""
    command = ["gcloud", "beta", "emulators", "pubsub", "start", f"--project={project}", f"--host-port={host}"]
    return _start("pubsub", _without_gcloud(PUBSUB_PROGRAM, _address(host)) or command, folder, host)


def _address(host: str) -> list[str]:
    name, _, port = host.partition(":")
    return [f"--host={name}", f"--port={port}"]


def _without_gcloud(program: str, words: list[str]) -> list[str] | None:
    """Returns the command that gcloud itself would start, which takes a second and a process less.

    Returns None where the program is not beside gcloud, so that gcloud finds it or says what is missing.
    """
    gcloud = shutil.which("gcloud")
    path = Path(gcloud).resolve().parents[1] / "platform" / program if gcloud else None
    return [str(path), *words] if path is not None and os.access(path, os.X_OK) else None


def _start(name: str, command: list[str], folder: Path, host: str) -> ChildProcess:
    problem = missing_software()
    if problem is not None:
        raise ConfigurationError(problem)
    log = folder / f"{name}-emulator.log"
    started = ["env", f"JDK_JAVA_OPTIONS={JAVA_OPTIONS}", *command]
    return start_process(name, started, log=log, host=host)
