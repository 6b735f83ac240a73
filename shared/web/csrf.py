"""Protects requests that carry a session cookie against forgery by pages of other sites.

https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import hmac
from hashlib import sha256
from ipaddress import ip_address

from starlette.requests import Request

from shared.error_codes import ErrorCode
from shared.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1); they need no token."""


def token_of(cookie: str) -> str:
    """Returns the CSRF token of a session: 64 hexadecimal digits that follow from the cookie.

    No page can read the HttpOnly cookie, so only a page that has read the token from the API can send it.
    """
    return hmac.new(cookie.encode(errors="replace"), b"csrf", sha256).hexdigest()


def check(request: Request, cookie: str, allowed_origins: frozenset[str]) -> None:
    """Raises Forbidden with the code csrf_failed when an unsafe request lacks the token or a trusted origin."""
    if request.method in SAFE_METHODS:
        return
    sent = request.headers.get("x-csrftoken", "").encode()
    has_token = hmac.compare_digest(sent, token_of(cookie).encode())
    if not has_token or not _has_trusted_origin(request, allowed_origins):
        raise Forbidden(
            "Send X-CSRFToken as GET /api/auth/csrf/ returns it, from a page of this site or of a listed origin.",
            code=ErrorCode.CSRF_FAILED,
        )


def _has_trusted_origin(request: Request, allowed_origins: frozenset[str]) -> bool:
    """Reads Origin and Sec-Fetch-Site, which browsers set and no page can change. Without either it returns False."""
    origin = request.headers.get("origin")
    if origin == "null":
        return False
    is_listed = origin is not None and (origin == own_origin(request) or origin in allowed_origins)
    return is_listed or request.headers.get("sec-fetch-site") == "same-origin"


def own_origin(request: Request) -> str:
    """Returns the origin ("https://host:port") to which the client sent the request."""
    return f"{_scheme(request)}://{request.headers.get('host', '').lower()}"


def is_plain_and_local(request: Request) -> bool:
    """Returns True when the request came over http to a loopback address, where there is no certificate."""
    host = request.headers.get("host", "").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return _scheme(request) == "http" and (name == "localhost" or _is_loopback(name))


def _scheme(request: Request) -> str:
    """Returns the scheme that the client used: Google ends TLS before the function and sends X-Forwarded-Proto."""
    return request.headers.get("x-forwarded-proto") or str(request.scope["scheme"])


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
