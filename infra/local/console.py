"""Serves the console (infra/hosting/public) at /, and signs in the users of the fixtures with one click.

The routes below /local exist on one machine only. They answer requests for this machine's own names, so that a page of
another site cannot reach them through a name that it lets point here (DNS rebinding).
"""

from pathlib import Path

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from infra.local.docs import HEADERS
from infra.local.fixtures import USERS
from shared import wiring

PUBLIC = Path(__file__).parents[1] / "hosting" / "public"
HOSTS = ["127.0.0.1", "localhost", "[::1]"]


class _Files(StaticFiles):
    """Files with the security headers of all our pages."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def routes() -> list[Route | Mount]:
    local = [Route("/users", _users), Route("/token", _token, methods=["POST"])]
    return [
        Route("/", _index),
        Mount("/console", _Files(directory=PUBLIC / "console")),
        Mount("/local", routes=local, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)]),
    ]


def _index(request: Request) -> Response:
    return FileResponse(PUBLIC / "index.html", headers=HEADERS)


def _users(request: Request) -> Response:
    return JSONResponse({"users": [{"id": user_id, **profile} for user_id, profile in USERS.items()]}, headers=HEADERS)


def _token(request: Request) -> Response:
    user_id = request.query_params.get("user", "")
    if user_id not in USERS:
        return JSONResponse({"error": "no such user"}, status_code=404, headers=HEADERS)
    return JSONResponse(
        {"token": wiring.embedded_tokens().mint(user_id)}, headers={**HEADERS, "Cache-Control": "no-store"}
    )
