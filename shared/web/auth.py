"""Authenticates and authorizes a caller: the bearer token or the session cookie, then the profile, then the group."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request

from shared.domain.directory import Profile
from shared.error_codes import ErrorCode
from shared.errors import Forbidden, Unauthenticated
from shared.ports import Identity
from shared.services import Services
from shared.web import csrf

COOKIE = "__session"
"""The only cookie that Firebase Hosting forwards (https://firebase.google.com/docs/hosting/manage-cache)."""


async def caller(request: Request, services: Services, *, group: str | None = None) -> Profile:
    """Returns the caller's profile; with `group`, only if the caller is a member of it.

    Raises Unauthenticated (never with the reason, which would help an attacker), Forbidden, IdentityUnavailable, or
    StoreUnavailable.
    """
    identity = await _identity(request, services)
    profile = await services.directory.profile(identity.user_id)
    if profile is None:
        raise Forbidden("You have no profile yet; ask your administrator.", code=ErrorCode.NO_PROFILE)
    require_group(profile, group)
    return profile


def reauthenticate(request: Request, services: Services) -> Callable[[], Awaitable[Profile]]:
    """Returns a function that authenticates the same request again, for streams that last longer than a minute."""
    return partial(caller, request, services)


def require_group(profile: Profile, group: str | None) -> None:
    """Raises Forbidden unless the caller is a member of the group; the group None lets every caller pass."""
    if group is not None and group not in profile.groups:
        raise Forbidden(f"This needs membership of the group {group}.")


async def _identity(request: Request, services: Services) -> Identity:
    """Verifies the Authorization header if there is one, else the session cookie and the CSRF token.

    A browser sends the cookie by itself, also for a forged request, but never an Authorization header.
    """
    if "authorization" in request.headers:
        return await services.tokens.verify(bearer_token(request))
    cookie = session_cookie(request)
    identity = await services.sessions.verify(cookie)
    csrf.check(request, cookie, services.allowed_origins)
    return identity


def bearer_token(request: Request) -> str:
    """Returns the token of the Authorization header. Raises Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()


def session_cookie(request: Request) -> str:
    """Returns the value of the session cookie. Raises Unauthenticated."""
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        raise Unauthenticated
    return cookie
