"""Reads typed settings from environment variables and collects all problems for one message."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from shared.domain.status import JOB_TYPES, Kind, Service
from shared.errors import ConfigurationError

DEADLINE_KINDS = ("default", Service.BATCH, *JOB_TYPES, *Kind)
DEFAULT_DEADLINES = {"default": timedelta(hours=1), Service.BATCH: timedelta(hours=24)}
REDIS_OPTIONS = {
    "redis": {"db"},
    "rediss": {"db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_check_hostname"},
    "unix": {"db"},
}
"""The options that a REDIS_URL may have after its `?`, by URL scheme. redis-py takes more, but some of those (such as
`socket_timeout`) would override what the adapter sets."""


class SettingsReader:
    """Reads environment variables ({name: value}); a variable with an empty value counts as not set.

    A method that finds a wrong value adds a sentence to `problems` and goes on, so that `raise_if_invalid` reports all
    problems at once. The sentences never quote a value, which may be a secret.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def raise_if_invalid(self) -> None:
        """Raises ConfigurationError with all problems, if there are any."""
        if self.problems:
            raise ConfigurationError("The settings are wrong: " + "; ".join(self.problems))

    def text(self, name: str) -> str | None:
        """Returns the value, or None when it is not set."""
        return self._environment.get(name) or None

    def has_emulator_host(self) -> bool:
        """Returns True when any `*_EMULATOR_HOST` is set: Google's libraries also obey variables that are not ours."""
        return any(value and name.endswith("_EMULATOR_HOST") for name, value in self._environment.items())

    def items(self, name: str, pattern: str, description: str) -> tuple[str, ...]:
        """Reads a comma separated list. Each item must match the whole `pattern`.

        `description` names an item in the problem's sentence, such as "an origin".
        """
        values = [value for part in (self.text(name) or "").split(",") if (value := part.strip())]
        if not all(re.fullmatch(pattern, value) for value in values):
            self.problems.append(f"each part of {name} must be {description}, and nothing more")
        return tuple(values)

    def choice(self, name: str, choices: tuple[str, ...], *, default: str | None = None) -> str:
        """Reads one of `choices`; without a `default`, the first of them is the default."""
        value = self.text(name) or default or choices[0]
        if value not in choices:
            self.problems.append(f"{name} must be one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """Reads a whole number from `minimum` to `maximum`."""
        return int(self._numeric(name, int, default, minimum, maximum))

    def decimal(self, name: str, default: float, *, minimum: float, maximum: float) -> float:
        """Reads a number with or without a fraction, from `minimum` to `maximum`."""
        return float(self._numeric(name, float, default, minimum, maximum))

    def url(self, name: str) -> str | None:
        """Reads an http or https URL."""
        value = self.text(name)
        if value is not None and not re.match(r"https?://[^/\s]", value):
            self.problems.append(f"{name} must be an http or https address")
        return value

    def redis_url(self, name: str) -> str | None:
        """Reads a redis://, rediss:// or unix:// URL with the options of REDIS_OPTIONS only."""
        value = self.text(name)
        if value is not None and not _is_redis_url(value):
            self.problems.append(
                f"{name} must be redis://host:port/number, rediss://… or unix:///path, its password percent-encoded"
            )
        return value

    def urls(self, name: str) -> Mapping[str, str] | None:
        """Reads a JSON object {name: http or https URL}; returns None when it is not set."""
        value = self._json_object(name)
        if value is None:
            return None
        if value and not all(isinstance(url, str) and re.match(r"https?://[^/\s]", url) for url in value.values()):
            self.problems.append(f"{name} must be a JSON object of names and http or https addresses")
            return {}
        return value

    def deadlines(self, name: str) -> Mapping[str, timedelta]:
        """Reads a JSON object {kind: seconds}, or one number of seconds as the default. DEADLINE_KINDS lists the kinds.

        Returns {kind: deadline}, with DEFAULT_DEADLINES for those of its kinds that are not set.
        """
        text = self.text(name) or "{}"
        value = {"default": float(text)} if re.fullmatch(r"\d+(\.\d+)?", text) else self._json_object(name) or {}
        valid = {kind: seconds for kind, seconds in value.items() if kind in DEADLINE_KINDS and _is_deadline(seconds)}
        if len(valid) < len(value):
            kinds = ", ".join(DEADLINE_KINDS)
            self.problems.append(f"{name} must be 1 to 86400 seconds, or a JSON object of them by {kinds}")
        return DEFAULT_DEADLINES | {kind: timedelta(seconds=seconds) for kind, seconds in valid.items()}

    def _json_object(self, name: str) -> dict[str, Any] | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            self.problems.append(f"{name} is not a JSON object")
            return {}
        return value

    def _numeric(
        self, name: str, parse: Callable[[str], float], default: float, minimum: float, maximum: float
    ) -> float:
        text = self.text(name)
        if text is None:
            return default
        try:
            value = parse(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            self.problems.append(f"{name} must be a number from {minimum} to {maximum}")
            return default
        return value


def _is_deadline(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 1 <= seconds <= 86400


def _is_redis_url(value: str) -> bool:
    """Returns True for a URL that redis-py reads in the way that the operator means.

    redis-py's own parser is not strict enough: it ignores a database that is not a number, and accepts options that do
    not exist.
    """
    try:
        url = urlsplit(value)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    options = REDIS_OPTIONS.get(url.scheme, set())
    is_unix_path = url.scheme == "unix" and bool(url.path)
    is_host_and_database = url.scheme != "unix" and has_host and re.fullmatch(r"(/\d*)?", url.path) is not None
    return (
        (is_unix_path or is_host_and_database)
        and not url.fragment
        and bool(options)
        and {name for name, _ in parse_qsl(url.query)} <= options
    )
