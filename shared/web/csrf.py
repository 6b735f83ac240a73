"""Whether a request that carries a session's cookie was meant by its owner, or sent by somebody else's page."""

import hmac
from hashlib import sha256
from ipaddress import ip_address

from starlette.requests import Request

from shared import wiring
from shared.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def token_of(cookie: str) -> str:
    """Bound to the session: whoever has not got the cookie, which pages cannot read, cannot make it."""
    return hmac.new(cookie.encode(errors="replace"), b"csrf", sha256).hexdigest()


def check(request: Request, cookie: str) -> None:
    """Raises Forbidden, with the code csrf_failed, when an unsafe request lacks the token or a good origin."""
    if request.method in SAFE_METHODS:
        return
    given = request.headers.get("x-csrftoken", "").encode()
    if not hmac.compare_digest(given, token_of(cookie).encode()) or not _has_good_origin(request):
        raise Forbidden(
            "Send X-CSRFToken as GET /api/auth/csrf/ tells it, from a page of this site or of a listed origin.",
            code="csrf_failed",
        )


def _has_good_origin(request: Request) -> bool:
    """By what browsers say and no page can change; one that says neither is refused."""
    origin = request.headers.get("origin")
    if origin == "null":
        return False
    listed = origin is not None and (origin == own_origin(request) or origin in wiring.settings().allowed_origins)
    return listed or request.headers.get("sec-fetch-site") == "same-origin"


def own_origin(request: Request) -> str:
    return f"{_scheme(request)}://{request.headers.get('host', '').lower()}"


def is_plain_and_local(request: Request) -> bool:
    """Over http to this very machine, where there is no certificate and nobody to listen in."""
    host = request.headers.get("host", "").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return _scheme(request) == "http" and (name == "localhost" or _is_loopback(name))


def _scheme(request: Request) -> str:
    """As the client sees it: Google ends TLS before us, and says so."""
    return request.headers.get("x-forwarded-proto") or str(request.scope["scheme"])


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
