"""Sessions where more than one kind of token may sign in: each is started and checked by its own issuer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.adapters.identity.by_issuer import TokensByIssuer
from shared.adapters.identity.claims import unverified
from shared.errors import Unauthenticated
from shared.ports import Identity, SessionIssuer


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKind:
    """Whose tokens start sessions of this kind, and whose name their cookies carry."""

    id_token_issuer: str
    cookie_issuer: str
    sessions: SessionIssuer


class SessionsByIssuer:
    def __init__(self, *kinds: SessionKind) -> None:
        self._starters: Mapping[object, SessionIssuer] = {kind.id_token_issuer: kind.sessions for kind in kinds}
        self._cookies = TokensByIssuer({kind.cookie_issuer: kind.sessions for kind in kinds})

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        issuer = unverified(id_token, part=1).get("iss")
        starter = self._starters.get(issuer) if isinstance(issuer, str) else None
        if starter is None:
            raise Unauthenticated
        return await starter.start(id_token, identity, lasting=lasting)

    async def verify(self, token: str) -> Identity:
        return await self._cookies.verify(token)
