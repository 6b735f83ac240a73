"""Spares most signature checks: a token that was good a minute ago, and has not expired, is good."""

from datetime import datetime, timedelta
from hashlib import sha256

from shared.ports import Clock, Identity, TokenVerifier

KEPT_FOR = timedelta(minutes=1)
MOST_TOKENS = 10_000


class CachedTokens:
    """Keeps hashes, no tokens; what was refused is not remembered."""

    def __init__(self, verifier: TokenVerifier, clock: Clock) -> None:
        self._verifier = verifier
        self._clock = clock
        self._known: dict[bytes, tuple[datetime, Identity]] = {}

    async def verify(self, token: str) -> Identity:
        now, key = self._clock.now(), _hash(token)
        known = self._known.get(key)
        if known is not None and known[0] > now:
            return known[1]
        identity = await self._verifier.verify(token)
        if len(self._known) >= MOST_TOKENS:
            self._known.clear()
        self._known[key] = (min(now + KEPT_FOR, identity.expires_at), identity)
        return identity

    def forget(self, token: str) -> None:
        """The next look at it is a real one."""
        self._known.pop(_hash(token), None)


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
