"""Joins adapters to use cases, once a process and on first use. It is the only package that knows adapters.

functions-framework imports main.py in a parent process and forks afterwards, so nothing here connects at import, and
adapters are imported inside the factories.
"""

from typing import TYPE_CHECKING

from shared import log
from shared.services import Services
from shared.settings import Settings, from_environment
from shared.wiring.container import Container

if TYPE_CHECKING:
    from shared.adapters.gcp.clients import ClientsByLoop
    from shared.adapters.identity.embedded import EmbeddedTokens
    from shared.adapters.sqlite.backend import SqliteBackend
    from shared.wiring.identity import Endpoints

_container: Container | None = None


def settings() -> Settings:
    """Returns the settings in use; reads them from the environment first. Raises ConfigurationError."""
    return _current().settings


def services() -> Services:
    """Returns what the functions call. Raises ConfigurationError."""
    return _current().services


def sqlite() -> "SqliteBackend":
    """Returns the embedded back end, from which the local host delivers."""
    return _current().sqlite


def embedded_tokens() -> "EmbeddedTokens":
    """Returns what mints and verifies the tokens of `make token`."""
    return _current().embedded_tokens


def google_clients() -> "ClientsByLoop":
    """Returns Google's clients, with which the emulators are set up too."""
    return _current().google_clients


def use(settings: Settings, *, endpoints: "Endpoints | None" = None) -> None:
    """Closes everything and goes on with these settings, and with these identity endpoints instead of Google's."""
    global _container
    close()
    log.configure(minimum=settings.log_level, project=settings.project)
    _container = Container(settings, endpoints=endpoints)


def close() -> None:
    """Closes everything, so that the next call reads the environment again."""
    global _container
    if _container is not None:
        _container.close()
    _container = None


def _current() -> Container:
    if _container is None:
        use(from_environment())
    assert _container is not None
    return _container
