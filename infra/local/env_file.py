"""Reads settings from `.env` for the programs on one machine; deployed functions read the environment only."""

from pathlib import Path

from dotenv import load_dotenv

from shared.errors import ConfigurationError

ENV_FILE = Path(".env")


def read_env_file() -> None:
    """Adds the settings of `.env` in the working directory to the environment; a variable that is set there stays.

    Child processes inherit them. `${NAME}` in a value is not replaced. Raises ConfigurationError when the file is not
    text in UTF-8.
    """
    try:
        load_dotenv(ENV_FILE, interpolate=False, encoding="utf-8-sig")
    except ValueError as error:
        raise ConfigurationError(f"{ENV_FILE} is not a text file in UTF-8.") from error
