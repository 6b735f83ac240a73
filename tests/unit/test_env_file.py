"""What `.env` in the working directory may hold, and that the environment wins over it."""

import os
from pathlib import Path

import pytest

from infra.local.env_file import read_env_file
from shared.errors import ConfigurationError
from shared.settings import Settings, from_environment


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and an environment that is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"PORT": "9001", "REDIS_URL": ""})
    return tmp_path


def settings(content: bytes) -> Settings:
    Path(".env").write_bytes(content)
    read_env_file()
    return from_environment()


def test_settings_of_the_file_take_effect() -> None:
    read = settings(b'# a comment\nLLM_SIM_SECONDS=7\nexport LOG_LEVEL = "DEBUG" # why\nSUBMITS_PER_MINUTE=5\r\n')
    assert (read.sim_seconds, read.log_level, read.limits.submits_a_minute) == (7.0, "DEBUG", 5)


def test_the_environment_wins_also_where_it_is_empty() -> None:
    read = settings(b"PORT=9002\nREDIS_URL=redis://127.0.0.1:6379/0\n")
    assert (read.port, read.redis_url) == (9001, None)


@pytest.mark.parametrize("quote", ["", "'"])
def test_a_value_stands_for_itself(quote: str) -> None:
    value = '{"default": "https://llm.example.com/${PORT}"}'
    assert settings(f"LLM_DEPLOYMENTS={quote}{value}{quote}\n".encode()).deployments == {
        "default": "https://llm.example.com/${PORT}"
    }


def test_no_file_is_fine() -> None:
    read_env_file()
    assert from_environment().port == 9001


def test_a_mark_in_front_that_windows_writes_is_no_part_of_a_name() -> None:
    assert settings(b"\xef\xbb\xbfLLM_SIM_SECONDS=7\n").sim_seconds == 7.0


def test_a_file_that_is_not_utf_8_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match=".env is not a text file in UTF-8"):
        settings("LLM_SIM_SECONDS=7\n".encode("utf-16"))


def test_a_file_in_a_folder_above_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("LLM_SIM_SECONDS=7\n")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    read_env_file()
    assert from_environment().sim_seconds == 2.0
