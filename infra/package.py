"""Makes the source of the functions from the last commit: the same commit makes the same bytes on every machine.

python -m infra.package prints the path of the zip file, whose name contains the hash of its content.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".data" / "package"
CONTENT = ("functions", "main.py", "requirements.txt", "shared")
"""What a deployed function needs. .gcloudignore leaves out everything else."""
MAX_BYTES = 2 * 1024 * 1024
SAME_TIME = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Prints the path of the package, and on standard error which changes are not in it."""
    try:
        for line in _git("status", "--porcelain", "--", *CONTENT).decode().splitlines():
            print(f"not in the package, because it is not committed: {line[3:]}", file=sys.stderr)
        content = zipped(source_files())
    except subprocess.CalledProcessError as error:
        sys.exit(f"The package is made from a git repository: {error.stderr.decode().strip()}")
    if len(content) > MAX_BYTES:
        sys.exit(f"The package has {len(content):,} bytes; {MAX_BYTES:,} are allowed.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"llm-runs-{hashlib.sha256(content).hexdigest()[:12]}.zip"
    path.write_bytes(content)
    print(path)


def source_files() -> dict[str, bytes]:
    """Returns {path: content} of the last commit, without documents. Raises CalledProcessError outside a repository."""
    archive = _git("archive", "--format=tar", "HEAD", "--", *CONTENT)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        found = {item.name: files.extractfile(item) for item in files if not item.name.endswith(".md")}
    return {name: content.read() for name, content in sorted(found.items()) if content is not None}


def zipped(files: dict[str, bytes]) -> bytes:
    """Returns a zip file with these files, not compressed: versions of zlib compress differently."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            item = zipfile.ZipInfo(name, date_time=SAME_TIME)
            item.create_system = 3  # Unix, also when this runs on Windows
            item.external_attr = 0o644 << 16
            archive.writestr(item, content)
    return written.getvalue()


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


if __name__ == "__main__":
    main()
