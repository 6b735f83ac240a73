"""Who is calling: the bearer token or the session, then the profile, then the group that a route asks for."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request

from shared.domain.directory import Profile
from shared.errors import Forbidden, Unauthenticated
from shared.ports import Identity
from shared.web import csrf
from shared.wiring import Services

COOKIE = "__session"
"""The only cookie that Firebase Hosting lets through."""


async def caller(request: Request, services: Services, *, group: str | None = None) -> Profile:
    """Raises Unauthenticated or Forbidden; why a token was refused stays unsaid."""
    identity = await _identity(request, services)
    profile = await services.directory.profile(identity.user_id)
    if profile is None:
        raise Forbidden("You have no profile yet; ask your administrator.", code="no_profile")
    require_group(profile, group)
    return profile


def reauthenticate(request: Request, services: Services) -> Callable[[], Awaitable[Profile]]:
    """For requests that last: who is calling by then."""
    return partial(caller, request, services)


def require_group(profile: Profile, group: str | None) -> None:
    """Raises Forbidden."""
    if group is not None and group not in profile.groups:
        raise Forbidden(f"This needs membership of the group {group}.")


async def _identity(request: Request, services: Services) -> Identity:
    """An Authorization header decides alone, whatever it says: no page can make a browser send one by itself."""
    if "authorization" in request.headers:
        return await services.tokens.verify(bearer_token(request))
    cookie = session_cookie(request)
    identity = await services.sessions.verify(cookie)
    csrf.check(request, cookie)
    return identity


def bearer_token(request: Request) -> str:
    """Raises Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()


def session_cookie(request: Request) -> str:
    """Raises Unauthenticated."""
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        raise Unauthenticated
    return cookie
