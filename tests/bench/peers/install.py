"""Installs what the peers need into .data/peers, on first use and after a change of their pinned versions."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

PEERS = Path(__file__).parent
ROOT = PEERS.parents[2]
VENV, NODE = ROOT / ".data/peers/venv", ROOT / ".data/peers/node"


def venv_program(name: str) -> str:
    return str(VENV / "bin" / name)


def restate_server() -> Path | None:
    """Returns the server's program for this platform, which npm has installed; None where there is none."""
    return next(NODE.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


@cache
def python_problem() -> str | None:
    """Installs the Python packages. Returns None, or one sentence that says what is missing and how to get it."""
    requirements = PEERS / "requirements.txt"

    def install() -> None:
        _run(sys.executable, "-m", "venv", str(VENV))
        pip = (venv_program("python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check")
        _run(*pip, "--require-hashes", "-r", str(requirements))

    return _installed(VENV, [requirements], install)


@cache
def node_problem() -> str | None:
    """Installs the Restate server. Returns None, or one sentence that says what is missing and how to get it."""
    if not shutil.which("npm"):
        return "npm is missing; on Debian: apt-get install npm"
    files = [PEERS / "package.json", PEERS / "package-lock.json"]

    def install() -> None:
        for file in files:
            shutil.copy(file, NODE)
        _run("npm", "ci", "--prefix", str(NODE), "--ignore-scripts", "--no-audit", "--no-fund", "--silent")

    problem = _installed(NODE, files, install)
    return problem or (None if restate_server() else "@restatedev/restate-server has no program for this platform")


def _installed(folder: Path, files: list[Path], install: Callable[[], None]) -> str | None:
    pinned = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == pinned:
        return None
    print(f"installing into {folder.relative_to(ROOT)}, once …", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        install()
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout or "").strip().splitlines() or [str(error)]
        return (
            f"{folder.relative_to(ROOT)} could not be installed, try again when the package index answers: {words[-1]}"
        )
    stamp.write_text(pinned)
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
