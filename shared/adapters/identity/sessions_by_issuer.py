"""Joins several session issuers into one: each creates and verifies its own kind of session."""

from collections.abc import Mapping
from datetime import timedelta

from msgspec import Struct

from shared.adapters.identity.by_issuer import TokensByIssuer
from shared.adapters.identity.claims import unverified_claims
from shared.errors import Unauthenticated
from shared.ports import Identity, SessionIssuer


class SessionKind(Struct, frozen=True, kw_only=True):
    """The claim `iss` of the ID tokens that start such a session, and of its cookies."""

    id_token_issuer: str
    cookie_issuer: str
    sessions: SessionIssuer


class SessionsByIssuer:
    """Implements SessionIssuer."""

    def __init__(self, *kinds: SessionKind) -> None:
        self._by_id_token_issuer: Mapping[str, SessionIssuer] = {kind.id_token_issuer: kind.sessions for kind in kinds}
        self._cookies = TokensByIssuer({kind.cookie_issuer: kind.sessions for kind in kinds})

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        """Raises Unauthenticated when tokens of this issuer start no session."""
        issuer = unverified_claims(id_token).get("iss")
        sessions = self._by_id_token_issuer.get(issuer) if isinstance(issuer, str) else None
        if sessions is None:
            raise Unauthenticated
        return await sessions.start(id_token, identity, lasting=lasting)

    async def verify(self, token: str) -> Identity:
        return await self._cookies.verify(token)
