"""`.env` in the working directory of the real programs, whose child processes have its settings too."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import ORIGIN
from tests.e2e.system import ROOT, Cloud, environment, until

MODULES = ("infra.local.embedded.host", "infra.local.emulators.host")


@contextmanager
def started_in(folder: Path, **settings: str) -> Iterator[str]:
    """Yields the address that `make run` serves on."""
    command = [sys.executable, "-m", "infra.local.embedded.host", "--quiet"]
    given = environment_of(folder, **settings)
    process = subprocess.Popen(command, cwd=folder, env=given, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        while not (line := process.stdout.readline()).startswith("ready on "):
            assert line, "it ended before it was ready"
        yield line.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def environment_of(folder: Path, **settings: str) -> dict[str, str]:
    given = {**environment(folder / "unused"), "PYTHONPATH": str(ROOT), **settings}
    for name in ("DATA_DIR", "PYTHON_DOTENV_DISABLED"):
        del given[name]
    return given


def allows_origin(url: str) -> bool:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{url}/llm_user_runs", headers=asked, trust_env=False)
    return bool(answer.headers.get("access-control-allow-origin") == ORIGIN)


def test_settings_of_the_file_reach_every_function_and_the_environment_wins(cloud: Cloud) -> None:
    assert allows_origin(cloud.url)


def test_settings_of_the_file_reach_each_program_and_the_environment_wins(tmp_path: Path) -> None:
    data_dir = tmp_path / "from the file"
    lines = [f"DATA_DIR={data_dir}", f"ALLOWED_ORIGINS={ORIGIN}", "OIDC_EMAILS=no address", "PORT=1"]
    (tmp_path / ".env").write_text("\n".join(lines))
    with started_in(tmp_path, OIDC_EMAILS="") as url:
        assert allows_origin(url)
        token = [sys.executable, "-m", "infra.local.token", "demo"]
        bearer = subprocess.check_output(token, cwd=tmp_path, env=environment_of(tmp_path, OIDC_EMAILS=""), text=True)
        headers = {"Authorization": f"Bearer {bearer.strip()}"}
        sent = httpx.post(f"{url}/llm_user_runs", json={"input_text": "hello"}, headers=headers, trust_env=False)
        assert sent.status_code == 200
        until((data_dir / "token.key").exists)


@pytest.mark.parametrize("module", [*MODULES, "infra.local.token"])
def test_a_wrong_setting_in_the_file_stops_the_start_in_one_sentence(tmp_path: Path, module: str) -> None:
    (tmp_path / ".env").write_text("OIDC_EMAILS=no address\n")
    command = [sys.executable, "-m", module, *(["demo"] if module == "infra.local.token" else [])]
    given = environment_of(tmp_path)
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == "The settings are wrong: each part of OIDC_EMAILS must be an e-mail address, and nothing more"
    )
