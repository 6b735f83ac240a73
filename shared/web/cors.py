"""Which other origins' pages may call (https://fetch.spec.whatwg.org/#http-cors-protocol): those listed, exactly."""

from starlette.requests import Request
from starlette.responses import Response

from shared import wiring

PREFLIGHT_SECONDS = 600
METHODS = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Prefer, X-CSRFToken, If-None-Match, Last-Event-ID, X-Request-Id"
)
RESPONSE_HEADERS = (
    "X-Request-Id, ETag, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Status, Preference-Applied"
)


def is_preflight(request: Request) -> bool:
    headers = request.headers
    return request.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def share(request: Request, response: Response) -> None:
    """Lets the page that asks read the response, if its origin is listed; caches are told that this may differ."""
    response.headers.add_vary_header("Origin")
    origin = request.headers.get("origin")
    if origin is None or origin not in wiring.settings().allowed_origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    if is_preflight(request):
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    else:
        response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
