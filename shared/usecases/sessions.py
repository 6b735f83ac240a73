"""Manages browser sessions: a recent sign-in is exchanged for a cookie that is valid until it expires or is ended."""

from datetime import datetime, timedelta
from hashlib import sha256

from msgspec import Struct

from shared.error_codes import ErrorCode
from shared.errors import Unauthenticated
from shared.ports import CachedVerifier, Clock, EndedSessions, Identity, SessionIssuer, TokenVerifier

SESSION_LIFETIME = timedelta(days=5)
SIGNED_IN_WITHIN = timedelta(minutes=5)
FORGET_AFTER = timedelta(minutes=1)
"""The record of an ended session outlives the cookie by this time, because clocks differ."""


class Session(Struct, frozen=True, kw_only=True):
    cookie: str
    expires_at: datetime


class OpenSessions:
    """Verifies cookies: the issuer signed the cookie, its user is still enabled, and the session has not been ended."""

    def __init__(self, *, issuer: SessionIssuer, ended: EndedSessions) -> None:
        self._issuer = issuer
        self._ended = ended

    async def verify(self, token: str) -> Identity:
        identity = await self._issuer.verify(token)
        if await self._ended.has_ended(_hash(token)):
            raise Unauthenticated
        return identity


class Sessions:
    def __init__(
        self,
        *,
        tokens: TokenVerifier,
        issuer: SessionIssuer,
        ended: EndedSessions,
        verifier: CachedVerifier,
        clock: Clock,
    ) -> None:
        """`verifier` caches the verdicts of OpenSessions."""
        self._tokens = tokens
        self._issuer = issuer
        self._ended = ended
        self._verifier = verifier
        self._clock = clock

    async def start(self, id_token: str) -> Session:
        """Returns a new session for a token of a recent sign-in.

        Raises Unauthenticated, with the code recent_sign_in_required when the sign-in is older than five minutes.
        """
        identity = await self._tokens.verify(id_token)
        now = self._clock.now()
        if identity.signed_in_at is None or now - identity.signed_in_at > SIGNED_IN_WITHIN:
            raise Unauthenticated("Sign in again to start a session.", code=ErrorCode.RECENT_SIGN_IN_REQUIRED)
        cookie = await self._issuer.start(id_token, identity, lasting=SESSION_LIFETIME)
        return Session(cookie=cookie, expires_at=now + SESSION_LIFETIME)

    async def verify(self, cookie: str) -> Identity:
        """Raises Unauthenticated. A session ended elsewhere is noticed as soon as the verifier's memory ends."""
        return await self._verifier.verify(cookie)

    async def end(self, cookie: str) -> None:
        """Raises Unauthenticated for one that is no session any more."""
        identity = await self.verify(cookie)
        await self._ended.end(_hash(cookie), expires_at=identity.expires_at + FORGET_AFTER)
        self._verifier.forget(cookie)


def _hash(cookie: str) -> str:
    return sha256(cookie.encode(errors="replace")).hexdigest()
