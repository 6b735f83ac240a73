"""Finds the endpoint of a client's request, and adds what every request needs: errors, log fields, CORS, caching."""

import asyncio
from collections.abc import Awaitable, Callable
from random import getrandbits
from re import compile
from urllib.parse import quote, unquote

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared import log, tracing
from shared.errors import ConfigurationError, ServiceError, StoreUnavailable
from shared.services import Services
from shared.tracing import SpanKind
from shared.web import cors, health
from shared.web.conditional import unless_known
from shared.web.errors import MethodNotAllowed, NoSuchRoute, error_response

_LOGGABLE = compile(r"[\w.:-]{1,128}")

Endpoint = Callable[..., Awaitable[Response]]
"""Takes (request, services) and the path's values by name."""


class Route(Struct, frozen=True):
    """`path` has no trailing slash. The endpoint gets each part in braces as an argument of that name."""

    method: str
    path: str
    endpoint: Endpoint


class Routes:
    """The routes of one function.

    Starlette's own router matches the decoded path, in which a slash in a channel's name (%2F) looks like any other.
    """

    def __init__(self, *routes: Route) -> None:
        self.routes = (*routes, *(Route("GET", path, health.answer) for path in health.PATHS))
        self._by_parts = [(route, route.path.split("/")) for route in self.routes]
        self._by_path = {(route.method, route.path): route for route in self.routes if "{" not in route.path}

    async def answer(self, request: Request, services: Callable[[], Services]) -> Response:
        """Answers a request. Calls `services` itself, so that wrong settings are answered with an error body too."""
        request_id = _request_id(request.headers.get("x-request-id"))
        with log.bound(request_id=request_id):
            try:
                provided = services()
            except ConfigurationError as error:
                log.error("not set up", problem=error.message)
                response = error_response(error)
            else:
                with tracing.span(request.method, SpanKind.SERVER, parent=tracing.context_of(request.headers)):
                    response = await self._answer(request, provided)
                cors.share(request, response, provided.allowed_origins)
        response.headers["X-Request-Id"] = request_id
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    async def _answer(self, request: Request, services: Services) -> Response:
        """Turns every error into an error body. Logs the code of an error only: its message may quote the request."""
        if cors.is_preflight(request):
            return cors.preflight_response(request, services.allowed_origins)
        try:
            route, values = self._find(request.method, _path(request))
            tracing.rename(f"{request.method} {route.path}")
            with log.bound(route=route.path):
                response = unless_known(request, await route.endpoint(request, services, **values))
                return _head_of(response) if request.method == "HEAD" else response
        except ConfigurationError as error:
            log.error("not set up", problem=error.message)
            return error_response(error)
        except ServiceError as error:
            log.info("request refused", code=error.code)
            return error_response(error)
        except asyncio.CancelledError:
            return error_response(StoreUnavailable("The server is closing; try again."))
        except Exception as error:  # noqa: BLE001 - a client never sees a traceback
            log.failure("request failed", error)
            return error_response(ServiceError())

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """A path without placeholders stands before those with. Raises NoSuchRoute or MethodNotAllowed."""
        path, wanted = path.rstrip("/"), "GET" if method == "HEAD" else method
        if (own := self._by_path.get((wanted, path))) is not None:
            return own, {}
        parts = [unquote(part) for part in path.split("/")]
        found = [(route, values) for route, pattern in self._by_parts if (values := _match(pattern, parts)) is not None]
        has_own_path = any(not values for _, values in found)
        found = [(route, values) for route, values in found if not (has_own_path and values)]
        for route, values in found:
            if route.method == wanted:
                return route, values
        if found:
            raise MethodNotAllowed([route.method for route, _ in found])
        raise NoSuchRoute


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    values = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            values[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return values


def _head_of(response: Response) -> Response:
    """Returns a stream's headers alone: a stream lasts as long as its client listens, even when nothing is sent."""
    if not isinstance(response, StreamingResponse):
        return response
    head = Response(status_code=response.status_code)
    head.raw_headers = response.raw_headers
    return head


def _path(request: Request) -> str:
    """Returns the path as the client sent it: a slash inside a part is still the escape %2F."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return raw.decode("ascii", errors="replace").partition("?")[0]


def _request_id(header: str | None) -> str:
    """Returns the X-Request-Id of the client, or a new id when the header is missing or is not fit for a log line."""
    return header if header and _LOGGABLE.fullmatch(header) else f"{getrandbits(128):032x}"
