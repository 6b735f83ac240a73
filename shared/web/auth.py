"""Who is calling: the bearer token, then the profile, then the group that a route asks for."""

from starlette.requests import Request

from shared.domain.directory import Profile
from shared.errors import Forbidden, Unauthenticated
from shared.wiring import Services


async def caller(request: Request, services: Services, *, group: str | None = None) -> Profile:
    """Raises Unauthenticated or Forbidden; why a token was refused stays unsaid."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    identity = await services.tokens.verify(token.strip())
    profile = await services.directory.profile(identity.user_id)
    if profile is None:
        raise Forbidden("You have no profile yet; ask your administrator.", code="no_profile")
    require_group(profile, group)
    return profile


def require_group(profile: Profile, group: str | None) -> None:
    """Raises Forbidden."""
    if group is not None and group not in profile.groups:
        raise Forbidden(f"This needs membership of the group {group}.")
