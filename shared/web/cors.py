"""Lets pages of listed origins call the API (https://fetch.spec.whatwg.org/#http-cors-protocol).

Starlette's CORSMiddleware implements the protocol. functions-framework makes the app of a function and offers no place
for a middleware, so this module calls the middleware's methods itself.
"""

from functools import cache

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MAX_AGE_SECONDS = 600
"""How long a browser may keep the answer to a preflight."""
METHODS = ("GET", "HEAD", "POST", "DELETE")
REQUEST_HEADERS = (
    "Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-CSRFToken", "If-None-Match", "Last-Event-ID",
    "X-Request-Id", "traceparent", "tracestate",
)  # fmt: skip
RESPONSE_HEADERS = (
    "X-Request-Id", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Status",
    "Preference-Applied", "Location", "Content-Location",
)  # fmt: skip


def is_preflight(request: Request) -> bool:
    """Returns True when a browser asks whether a page of another origin may send a request."""
    headers = request.headers
    return request.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_response(request: Request, allowed_origins: frozenset[str]) -> Response:
    """Answers a preflight: 200 for a listed origin, else 400."""
    return _policy(allowed_origins).preflight_response(request_headers=request.headers)


def share(request: Request, response: Response, allowed_origins: frozenset[str]) -> None:
    """Lets a page of a listed origin read the response, and tells caches that the response depends on the origin."""
    policy, origin = _policy(allowed_origins), request.headers.get("origin")
    if origin is not None and policy.is_allowed_origin(origin):
        response.headers.update(policy.simple_headers)
        policy.allow_explicit_origin(response.headers, origin)
    else:
        response.headers.add_vary_header("Origin")


@cache
def _policy(allowed_origins: frozenset[str]) -> CORSMiddleware:
    """Returns the one middleware for these origins."""
    return CORSMiddleware(
        _no_app,
        allow_origins=sorted(allowed_origins),
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        allow_credentials=True,
        expose_headers=RESPONSE_HEADERS,
        max_age=MAX_AGE_SECONDS,
    )


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for the app that the middleware would wrap; it is never called."""
