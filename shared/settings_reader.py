"""Reads settings out of the words of an environment, and collects what is wrong with them."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from shared.domain.run import Kind
from shared.domain.submission import JOB_TYPES
from shared.errors import ConfigurationError

DEADLINE_KINDS = ("default", *JOB_TYPES, *Kind)
REDIS_OPTIONS = {
    "redis": {"db"},
    "rediss": {"db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_check_hostname"},
    "unix": {"db"},
}
"""What may stand behind the ? of a REDIS_URL, by its scheme."""


class SettingsReader:
    """Reads values, and collects problems instead of stopping at the first. An empty value counts as not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def finish(self) -> None:
        if self.problems:
            raise ConfigurationError("The settings are wrong: " + "; ".join(self.problems))

    def text(self, name: str) -> str | None:
        return self._environment.get(name) or None

    def names_an_emulator(self) -> bool:
        """Google's libraries know more of them than we do."""
        return any(value and name.endswith("_EMULATOR_HOST") for name, value in self._environment.items())

    def items(self, name: str, pattern: str, what: str) -> tuple[str, ...]:
        """A list with commas."""
        values = [value for part in (self.text(name) or "").split(",") if (value := part.strip())]
        if not all(re.fullmatch(pattern, value) for value in values):
            self.problems.append(f"each part of {name} must be {what}, and nothing more")
        return tuple(values)

    def choice(self, name: str, choices: tuple[str, ...], *, default: str | None = None) -> str:
        value = self.text(name) or default or choices[0]
        if value not in choices:
            self.problems.append(f"{name} must be one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        return int(self._numeric(name, int, default, minimum, maximum))

    def decimal(self, name: str, default: float, *, minimum: float, maximum: float) -> float:
        return float(self._numeric(name, float, default, minimum, maximum))

    def url(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not re.match(r"https?://[^/\s]", value):
            self.problems.append(f"{name} must be an http or https address")
        return value

    def redis_url(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not _is_redis_url(value):
            self.problems.append(
                f"{name} must be redis://host:port/number, rediss://… or unix:///path, its password percent-encoded"
            )
        return value

    def urls(self, name: str) -> Mapping[str, str] | None:
        """A JSON object {name: base URL}."""
        value = self._object(name)
        if value is None:
            return None
        if value and not all(isinstance(url, str) and re.match(r"https?://[^/\s]", url) for url in value.values()):
            self.problems.append(f"{name} must be a JSON object of names and http or https addresses")
            return {}
        return value

    def deadlines(self, name: str) -> Mapping[str, timedelta]:
        """A number for all, or a JSON object {job type or kind: seconds} with an optional `default`."""
        given = self.text(name) or "{}"
        value = {"default": float(given)} if re.fullmatch(r"\d+(\.\d+)?", given) else self._object(name) or {}
        good = {kind: seconds for kind, seconds in value.items() if kind in DEADLINE_KINDS and _is_deadline(seconds)}
        if len(good) < len(value):
            kinds = ", ".join(DEADLINE_KINDS)
            self.problems.append(f"{name} must be 1 to 86400 seconds, or a JSON object of them by {kinds}")
        return {"default": timedelta(hours=1)} | {kind: timedelta(seconds=seconds) for kind, seconds in good.items()}

    def _object(self, name: str) -> dict[str, Any] | None:
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
        self, name: str, read: Callable[[str], float], default: float, minimum: float, maximum: float
    ) -> float:
        text = self.text(name)
        if text is None:
            return default
        try:
            value = read(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            self.problems.append(f"{name} must be a number from {minimum} to {maximum}")
            return default
        return value


def _is_deadline(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 1 <= seconds <= 86400


def _is_redis_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    options = REDIS_OPTIONS.get(url.scheme, set())
    is_place = bool(url.path) if url.scheme == "unix" else has_host and re.fullmatch(r"(/\d*)?", url.path) is not None
    return is_place and not url.fragment and bool(options) and {name for name, _ in parse_qsl(url.query)} <= options
