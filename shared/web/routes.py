"""A function's routes, and the one wrapper around every HTTP request that clients send."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from re import fullmatch
from urllib.parse import quote, unquote
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shared import log
from shared.errors import ConfigurationError, ServiceError, StoreUnavailable
from shared.web import cors, health
from shared.web.conditional import unless_known
from shared.web.errors import MethodNotAllowed, NoSuchRoute, error_response

Endpoint = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` without a trailing slash; a part in braces is handed to the endpoint under that name."""

    method: str
    path: str
    endpoint: Endpoint


class Routes:
    def __init__(self, *routes: Route) -> None:
        self.routes = (*routes, *(Route("GET", path, health.answer) for path in health.PATHS))
        self._by_parts = [(route, route.path.split("/")) for route in self.routes]

    async def answer(self, request: Request) -> Response:
        """Errors become the envelope of contract and status table; nothing about them but their code is logged."""
        request_id = _request_id(request.headers.get("x-request-id"))
        trace = log.trace_name(request.headers.get("x-cloud-trace-context") or request.headers.get("traceparent"))
        with log.bound(request_id=request_id, trace=trace):
            try:
                preflight = cors.is_preflight(request)
                route, values = (PREFLIGHT, {}) if preflight else self._find(request.method, _path(request))
                with log.bound(route=route.path):
                    response = unless_known(request, await route.endpoint(request, **values))
                    response = _head_of(response) if request.method == "HEAD" else response
            except ConfigurationError as error:
                log.error("not set up", problem=error.message)
                response = error_response(error)
            except ServiceError as error:
                log.info("request refused", code=error.code)
                response = error_response(error)
            except asyncio.CancelledError:
                response = error_response(StoreUnavailable("The server is closing; try again."))
            except Exception as error:  # noqa: BLE001 - the last line of defence: a client never sees a traceback
                log.failure("request failed", error)
                response = error_response(ServiceError())
        cors.share(request, response)
        response.headers["X-Request-Id"] = request_id
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        parts = [unquote(part) for part in path.rstrip("/").split("/")]
        wanted = "GET" if method == "HEAD" else method
        allowed = []
        for route, pattern in self._by_parts:
            values = _match(pattern, parts)
            if values is None:
                continue
            if route.method == wanted:
                return route, values
            allowed.append(route.method)
        if allowed:
            raise MethodNotAllowed(allowed)
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
    """A stream would go on for as long as its client listens, whatever of it is sent."""
    if not isinstance(response, StreamingResponse):
        return response
    head = Response(status_code=response.status_code)
    head.raw_headers = response.raw_headers
    return head


def _path(request: Request) -> str:
    """As it was sent: a slash inside a part is still escaped."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return raw.decode("ascii", errors="replace").partition("?")[0]


def _request_id(given: str | None) -> str:
    return given if given and fullmatch(r"[\w.:-]{1,128}", given) else uuid4().hex


async def _preflight(request: Request) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)


PREFLIGHT = Route("OPTIONS", "(preflight)", _preflight)
