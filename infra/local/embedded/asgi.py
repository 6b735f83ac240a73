"""Serves functions as ASGI apps, and sends requests to an app in the same process without an HTTP connection."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


def app_of(function: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """Returns the app of a function that answers each request itself, also one that fails.

    The app of functions-framework, which `make emulators` serves, adds to such a function only ids that Cloud Logging
    reads, and takes a tenth of the time of a run.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await function(Request(scope, receive, send))
        await response(scope, receive, send)

    return app


async def post(app: ASGIApp, *, path: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Sends a POST request with a JSON body and returns the HTTP status of the response; 500 when there was none."""
    status = 500

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    all_headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in all_headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await app(scope, receive, send)
    return status
