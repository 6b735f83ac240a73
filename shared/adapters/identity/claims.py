"""Reads and checks the claims of JSON Web Tokens that others sign with RS256 (RFC 7519)."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from shared.adapters.identity.keys import RemoteKeys
from shared.errors import Unauthenticated

SKEW = timedelta(seconds=10)
"""How far the clocks of the issuer and of this machine may differ."""
MAX_CHARACTERS = 16 * 1024
MAX_SUBJECT_LENGTH = 128


async def verified_claims(
    token: str, *, keys: RemoteKeys, issuers: Collection[str], audiences: Collection[str]
) -> dict[str, Any]:
    """Returns the claims after it has checked signature, issuer, audience, times and subject.

    Raises Unauthenticated when one of them is wrong, IdentityUnavailable when there are no keys to check with.
    """
    header = unverified_header(token)
    if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
        raise Unauthenticated
    key = await keys.key(header["kid"])
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            issuer=list(issuers),
            audience=list(audiences),
            leeway=SKEW,
            options={"require": ["exp", "iat", "sub", "aud", "iss"]},
        )
    except jwt.PyJWTError:
        raise Unauthenticated from None
    if claims["aud"] not in audiences or not 0 < len(claims["sub"]) <= MAX_SUBJECT_LENGTH:
        raise Unauthenticated  # PyJWT accepts a list of audiences when one of them matches
    return claims


def unverified_header(token: str) -> dict[str, Any]:
    """Returns the unchecked header; use it only to choose a key. Raises Unauthenticated if unreadable."""
    return _decoded(token, jwt.get_unverified_header)


def unverified_claims(token: str) -> dict[str, Any]:
    """Returns the unchecked claims; use them only to choose a verifier. Raises Unauthenticated if unreadable."""
    return _decoded(token, lambda text: jwt.decode(text, options={"verify_signature": False}))


def _decoded(token: str, decode: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    if len(token) > MAX_CHARACTERS or not token.isascii():
        raise Unauthenticated
    try:
        return decode(token)
    except jwt.PyJWTError:
        raise Unauthenticated from None


def time_claim(claims: dict[str, Any], name: str) -> datetime:
    """Returns a claim, given in seconds since 1970, as an aware UTC time. Raises Unauthenticated if it is not one."""
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unauthenticated
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated from None
