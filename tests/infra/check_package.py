"""The package and the image's steps, on each Python: in an empty folder, every function starts and is healthy."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from infra.local.routing import FUNCTIONS
from infra.package import source_files
from tests.needs import need

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.13")
ORIGINS = [("3.11", "package"), ("3.13", "package"), ("3.13", "image")]
"""The functions run on each Python, the image on the Python that it is made from."""
START_SECONDS = 60.0
CLOUD = {
    "BACKEND": "gcp",
    "K_SERVICE": "a-function",
    "GOOGLE_CLOUD_PROJECT": "demo-deploy",
    "RECHECK_URL": "https://recheck-run.example.com",
    "DELIVER_WEBHOOK_URL": "https://deliver-webhook.example.com",
    "INVOKER_SERVICE_ACCOUNT": "invoker@demo-deploy.iam.gserviceaccount.com",
    "LLM_DEPLOYMENTS": '{"default": "https://llm.example.com"}',
}


def python(version: str) -> str:
    """Returns the interpreter of this version, from PATH or from pyenv. Ends the test when there is none."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for candidate in (shutil.which(f"python{version}"), *map(str, pyenv)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    need(f"Python {version} is missing; install it with pyenv, or from python.org")
    raise AssertionError("need() ends the test")


@pytest.fixture(scope="module")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes an environment with requirements.txt and nothing else as the Dockerfile does, once for each Python."""

    @cache
    def make(version: str) -> Path:
        folder = tmp_path_factory.mktemp(f"python{version}")
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--python", python(version), folder / "venv"], check=True)
        [install] = [line for line in steps("RUN") if line.startswith("pip install")]
        words = [word for word in shlex.split(install)[2:] if word != "--no-cache-dir"]
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", folder / "venv/bin/python", *words], cwd=ROOT, check=True
        )
        return folder / "venv"

    return make


def steps(instruction: str) -> list[str]:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{instruction} ")]


def variables_of_the_image() -> dict[str, str]:
    return dict(word.split("=", 1) for line in steps("ENV") for word in shlex.split(line))


def test_no_step_of_the_dockerfile_is_left_out() -> None:
    """FROM, WORKDIR, USER and EXPOSE are Docker's own; the other steps are carried out here."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    words = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert words == {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "CMD"}
    assert steps("FROM") == [f"python:{PYTHONS[-1]}-slim"]
    assert int(steps("USER")[0].partition(":")[0]) > 0, "it does not run as root"
    assert variables_of_the_image()["PORT"] == steps("EXPOSE")[0]
    assert variables_of_the_image()["FUNCTION_TARGET"] in FUNCTIONS


@contextmanager
def started(function: str, environment: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = re.findall(r'"([^"]+)"', steps("CMD")[0])
    variables = {**variables_of_the_image(), **settings, "FUNCTION_TARGET": function, "PORT": str(port)}
    variables["PATH"] = f"{environment}/bin:/usr/bin:/bin"
    with (folder / f"../{function}.log").open("w") as log:
        process = subprocess.Popen(
            [environment / "bin" / command[0], *command[1:]],
            cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield port
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def health(port: int) -> str:
    """Returns the status line of GET /health. Raises ConnectionError when nothing answers in time."""
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: function\r\nConnection: close\r\n\r\n")
                if answer := connection.recv(1000):
                    return answer.decode().splitlines()[0]
        except OSError:
            pass
        time.sleep(0.1)
    raise ConnectionError(f"nothing answers on port {port}")


@pytest.mark.parametrize(("version", "origin"), ORIGINS)
def test_every_function_starts_and_is_healthy(
    make_environment: Callable[[str], Path], version: str, origin: str, tmp_path: Path
) -> None:
    environment = make_environment(version)
    folder = tmp_path / "app"
    if origin == "package":
        printed = subprocess.check_output([sys.executable, "-m", "infra.package"], cwd=ROOT, text=True)
        with zipfile.ZipFile(printed.strip()) as package:
            package.extractall(folder)
    else:
        copy_as_the_dockerfile_does(folder)
        for line in steps("RUN"):
            if not line.startswith("pip install"):
                path = {"PATH": f"{environment}/bin:/usr/bin:/bin", **variables_of_the_image()}
                subprocess.run(["sh", "-c", line], cwd=folder, env=path, check=True)
    for function in FUNCTIONS:
        with started(function, environment, folder, CLOUD) as port:
            assert health(port) == "HTTP/1.1 200 OK", (folder / f"../{function}.log").read_text()


def copy_as_the_dockerfile_does(folder: Path) -> None:
    """Copies committed files only, as the build's context of `git archive` holds them."""
    for words in map(str.split, steps("COPY")):
        target = folder / words[-1]
        for name, content in source_files().items():
            for source in words[:-1]:
                if name == source or name.startswith(f"{source}/"):
                    path = target / name.removeprefix(source).lstrip("/") if name != source else target / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)


@pytest.mark.parametrize("version", PYTHONS)
def test_a_function_that_lacks_a_setting_does_not_start(
    make_environment: Callable[[str], Path], version: str, tmp_path: Path
) -> None:
    environment = make_environment(version)
    copy_as_the_dockerfile_does(tmp_path / "app")
    settings = {name: value for name, value in CLOUD.items() if name != "LLM_DEPLOYMENTS"}
    variables = {**settings, "PATH": f"{environment}/bin:/usr/bin:/bin"}
    done = subprocess.run(
        [environment / "bin/python", "-c", "import main"], cwd=tmp_path / "app", env=variables, capture_output=True
    )
    assert done.returncode != 0 and b"LLM_DEPLOYMENTS is needed" in done.stderr
