"""Spares most signature checks: a token that was good a minute ago, and has not expired, is good."""

from datetime import datetime, timedelta
from hashlib import sha256

from shared.adapters.identity.single_flight import SingleFlight
from shared.ports import Clock, Identity, TokenVerifier

KEPT_FOR = timedelta(minutes=1)
MAX_TOKENS = 10_000


class CachedTokens:
    """Keeps hashes, no tokens; what was refused is not remembered."""

    def __init__(self, verifier: TokenVerifier, clock: Clock) -> None:
        self._verifier = verifier
        self._clock = clock
        self._known: dict[bytes, tuple[datetime, Identity]] = {}
        self._checks: SingleFlight[Identity] = SingleFlight()
        self._forgotten = 0

    async def verify(self, token: str) -> Identity:
        now, key = self._clock.now(), _hash(token)
        known = self._known.get(key)
        if known is not None and known[0] > now:
            return known[1]
        return await self._checks((self._forgotten, key), lambda: self._check(token, key))

    async def _check(self, token: str, key: bytes) -> Identity:
        now, forgotten = self._clock.now(), self._forgotten
        identity = await self._verifier.verify(token)
        if len(self._known) >= MAX_TOKENS:
            self._known.clear()
        if forgotten == self._forgotten:
            self._known[key] = (min(now + KEPT_FOR, identity.expires_at), identity)
        return identity

    def forget(self, token: str) -> None:
        """The next look at it is a real one, whatever is being looked at now."""
        self._forgotten += 1
        self._known.pop(_hash(token), None)


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
