"""The deployed source: files of the last commit only, the same bytes each time, and no test or local tool."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from infra.package import CONTENT, MAX_BYTES, SAME_TIME, source_files, zipped

ROOT = Path(__file__).parents[2]


def tracked() -> set[str]:
    return set(subprocess.check_output(["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, text=True).split())


def test_the_package_holds_the_committed_files_that_a_function_needs_and_nothing_else() -> None:
    files = source_files()
    assert set(files) == {name for name in tracked() if name.split("/")[0] in CONTENT and not name.endswith(".md")}
    assert len(zipped(files)) < MAX_BYTES


def test_gcloud_would_upload_the_same_files(tmp_path: Path) -> None:
    """git reads patterns as gcloud does."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text((ROOT / ".gcloudignore").read_text())
    listed = "\n".join(sorted(tracked()))
    command = ["git", "check-ignore", "--stdin", "--no-index"]
    ignored = subprocess.run(command, cwd=tmp_path, input=listed, capture_output=True, text=True).stdout.split()
    assert tracked() - set(ignored) == set(source_files())


def test_the_same_files_make_the_same_bytes_without_a_trace_of_time_or_machine() -> None:
    files = {"b.py": b"2", "a.py": b"1"}
    content = zipped(files)
    assert content == zipped(files)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for item in archive.infolist():
            assert (item.date_time, item.create_system, item.compress_type) == (SAME_TIME, 3, zipfile.ZIP_STORED)


def test_the_command_prints_the_path_of_the_package() -> None:
    paths = [
        subprocess.check_output([sys.executable, "-m", "infra.package"], cwd=ROOT, text=True, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert paths[0] == paths[1]
    assert zipfile.is_zipfile(paths[0].strip())


def test_the_image_is_made_of_the_same_files() -> None:
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
    }
    assert copied == set(CONTENT)


def test_the_bytecode_of_the_build_stays_valid_when_files_get_another_time(tmp_path: Path) -> None:
    """Compiles as Google's buildpack does."""
    source = tmp_path / "function.py"
    source.write_text("print(__spec__.cached)")
    epoch = json.loads((ROOT / "infra/cloud.json").read_text())["source_date_epoch"]
    environment = {"SOURCE_DATE_EPOCH": epoch, "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-m", "compileall", "-f", "-q", "."], cwd=tmp_path, env=environment, check=True)
    os.utime(source, (int(epoch), int(epoch)))
    command = [sys.executable, "-v", "-c", "import function"]
    imported = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "function.cpython" in imported.stdout and "bytecode is stale" not in imported.stderr
