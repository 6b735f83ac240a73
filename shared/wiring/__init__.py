"""Joins adapters to use cases, once per process and on first use. The functions get every adapter from here.

functions-framework imports main.py in a parent process and then forks, and a gRPC client that was made before a fork
hangs. So nothing connects at import, and the factories import the adapters.

https://github.com/grpc/grpc/blob/master/doc/fork_support.md
"""

from typing import TYPE_CHECKING

from shared import log
from shared.services import Services
from shared.settings import Settings, from_environment
from shared.wiring.container import Container

if TYPE_CHECKING:
    from shared.adapters.gcp.clients import ClientsByLoop
    from shared.adapters.gcp.directory import FirestoreDirectory
    from shared.adapters.identity.embedded import EmbeddedTokens
    from shared.adapters.sqlite.backend import SqliteBackend
    from shared.adapters.sqlite.directory import SqliteDirectory
    from shared.wiring.identity import Endpoints

_container: Container | None = None


def settings() -> Settings:
    """Returns the settings in use; reads them from the environment first. Raises ConfigurationError."""
    return _current().settings


def services() -> Services:
    """Returns the use cases that the functions call. Raises ConfigurationError."""
    return _current().services


def sqlite() -> "SqliteBackend":
    """Returns the embedded back end. The local host delivers the messages and tasks in it."""
    return _current().sqlite


def directory() -> "FirestoreDirectory | SqliteDirectory":
    """Returns the directory of the back end without a cache, for programs that write records."""
    return _current().directory


def embedded_tokens() -> "EmbeddedTokens":
    """Returns the adapter that mints and verifies the tokens of `make token`."""
    return _current().embedded_tokens


def google_clients() -> "ClientsByLoop":
    """Returns Google's clients. The emulators are set up with them too."""
    return _current().google_clients


def use(settings: Settings, *, endpoints: "Endpoints | None" = None) -> None:
    """Closes everything, then uses these settings; `endpoints` replaces Google's identity servers in tests."""
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
