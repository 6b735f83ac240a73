"""Generates clients of the API from infra/openapi.yaml: in Python, and in TypeScript when Node.js is installed.

python -m infra.clients.generate .data/clients

The Python client is a package in the folder `python`. The TypeScript client is a package in `typescript`, compiled to
its folder `dist`.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "openapi.yaml"
NPM_CI = ("ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")
NODE_IS_MISSING = "The TypeScript client needs Node.js 18 or newer and npm; on Debian: apt-get install nodejs npm"


class GenerationFailed(Exception):
    """A tool failed or warned; the message is the command and its output."""


def generate_python(folder: Path) -> None:
    """Replaces the folder with the package `llm_runs_client` and its pyproject.toml.

    Raises GenerationFailed, also when the generator warns that it leaves out a part of the document.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    options = [f"--path={DOCUMENT}", f"--config={HERE / 'python.yaml'}", f"--output-path={folder}", "--meta=pdm"]
    _run([*generator, *options])
    _run([sys.executable, "-m", "ruff", "check", "--quiet", "--no-cache", "--fix-only", str(folder)])
    _run([sys.executable, "-m", "ruff", "format", "--quiet", "--no-cache", str(folder)])


def generate_typescript(folder: Path) -> None:
    """Writes an npm package to the folder and compiles it. Installs its tools in the folder when the lock file changed.

    Raises GenerationFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "typescript", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    lock, installed = (folder / "package-lock.json").read_bytes(), folder / "node_modules" / ".installed"
    if not installed.exists() or installed.read_bytes() != lock:
        _run([_found("npm"), *NPM_CI], folder)
        installed.write_bytes(lock)
    node = _found("node")
    _run([node, "node_modules/openapi-typescript/bin/cli.js", str(DOCUMENT), "--output", "src/api.ts"], folder)
    _run([node, "node_modules/typescript/bin/tsc"], folder)


def node_is_missing() -> bool:
    """Returns True when this machine lacks node or npm."""
    return shutil.which("node") is None or shutil.which("npm") is None


def _found(program: str) -> str:
    """Returns the path of a program: Windows starts npm.cmd by its full name only, which `which` finds."""
    return shutil.which(program) or program


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode != 0:
        raise GenerationFailed(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Generates clients of the API.")
    parser.add_argument("folder", type=Path, help="the folder to write the clients to")
    folder = parser.parse_args().folder.resolve()
    try:
        generate_python(folder / "python")
        print(f"Python client: {folder / 'python'}")
        if node_is_missing():
            print(NODE_IS_MISSING, file=sys.stderr)
        else:
            generate_typescript(folder / "typescript")
            print(f"TypeScript client: {folder / 'typescript'}")
    except GenerationFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
