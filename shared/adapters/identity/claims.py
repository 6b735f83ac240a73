"""What a token signed with RS256 claims, believed only once everything about it has been checked."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from shared.adapters.identity.keys import RemoteKeys
from shared.errors import Unauthenticated

SKEW = timedelta(seconds=10)
MAX_CHARACTERS = 16 * 1024
MAX_SUBJECT_LENGTH = 128


async def verified_claims(
    token: str, *, keys: RemoteKeys, issuers: Collection[str], audiences: Collection[str]
) -> dict[str, Any]:
    """Signature, issuer, audience, times and subject are good. Raises Unauthenticated."""
    header = unverified(token, part=0)
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
        raise Unauthenticated
    return claims


def unverified(token: str, *, part: int) -> dict[str, Any]:
    """Header (0) or claims (1) as they stand: good for choosing a verifier only. Raises Unauthenticated."""
    parts = token.split(".")
    if len(token) > MAX_CHARACTERS or len(parts) != 3:
        raise Unauthenticated
    try:
        value = json.loads(urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    except (ValueError, RecursionError):
        raise Unauthenticated from None
    if not isinstance(value, dict):
        raise Unauthenticated
    return value


def moment(claims: dict[str, Any], name: str) -> datetime:
    """A time claim. Raises Unauthenticated."""
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unauthenticated
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated from None
