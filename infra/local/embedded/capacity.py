"""Limits how many requests a function takes at once, as the maximum number of instances does on Cloud Run.

https://cloud.google.com/run/docs/configuring/max-instances
"""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Capacity:
    """An ASGI app before a function: at its limit it answers 429, and the function never sees the request."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= self._limit:
            await PlainTextResponse("Rate exceeded.", 429)(scope, receive, send)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
