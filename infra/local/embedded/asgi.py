"""Sends requests to an ASGI app in the same process, so that deliveries need no HTTP connection."""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp


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
