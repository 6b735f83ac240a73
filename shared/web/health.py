"""Answers the health check of every function, without touching a back end."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from shared.services import Services
from shared.web.json_response import JsonResponse

PATHS = ("/health", "/healthz")
"""/healthz works on one machine only: Cloud Run reserves paths that end in z.

https://cloud.google.com/run/docs/known-issues#reserved-urls
"""


def is_check(request: Request) -> bool:
    """Returns True for a health check. An internal function must not handle it as an event."""
    return request.method in ("GET", "HEAD") and request.url.path.rstrip("/") in PATHS


async def answer(request: Request, services: Services | None = None) -> Response:
    """Answers 200. `services` is unused; the routes pass it to every endpoint."""
    return JsonResponse(
        {"success": True, "status": "ok"}, status_code=HTTPStatus.OK, headers={"Cache-Control": "private, no-store"}
    )
