"""Downloads single npm packages for the tests in a browser; package-lock.json has their hashes."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.needs import need

SOURCE = Path(__file__).parent / "browser"
HOW_TO_INSTALL = "The tests in a browser need npm; on Debian: apt-get install npm"


def downloaded_package(name: str, folder: Path, files: Sequence[str]) -> Path:
    """Returns a folder with these files of the package; the first process that asks for it downloads them."""
    need(None if shutil.which("npm") else HOW_TO_INSTALL)
    package = folder / name
    with FileLock(f"{package}.lock"):
        if not package.exists():
            _download(name, package, files)
    return package


def locked(name: str) -> Any:
    """Returns version and integrity of the package, as package-lock.json has them."""
    return json.loads((SOURCE / "package-lock.json").read_text())["packages"][f"node_modules/{name}"]


def _download(name: str, target: Path, files: Sequence[str]) -> None:
    entry = locked(name)  # an alias, for a second version of a package, has the package's own name in its entry
    command = ["npm", "pack", f"{entry.get('name', name)}@{entry['version']}", "--json", "--prefer-offline"]
    done = subprocess.run(command, cwd=target.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    [packed] = json.loads(done.stdout)
    assert packed["integrity"] == entry["integrity"], "the registry has another package than package-lock.json"
    archive = target.parent / packed["filename"]
    with tarfile.open(archive) as package:
        members = [package.getmember(f"package/{file}") for file in files]
        package.extractall(target.with_suffix(".new"), members=members, filter="data")
    archive.unlink()
    (target.with_suffix(".new") / "package").rename(target)
