"""Saves most signature checks: it caches successful verifications for one minute."""

from datetime import datetime, timedelta
from hashlib import sha256

from cachetools import TLRUCache

from shared.adapters.identity.single_flight import SingleFlight
from shared.ports import Clock, Identity, TokenVerifier

KEPT_FOR = timedelta(minutes=1)
MAX_TOKENS = 10_000

Entry = tuple[datetime, Identity]
"""The time at which the verification began, and its result."""


class CachedTokens:
    """Implements TokenVerifier. It keeps hashes instead of tokens, and does not cache refusals."""

    def __init__(self, verifier: TokenVerifier, clock: Clock, *, max_tokens: int = MAX_TOKENS) -> None:
        self._verifier = verifier
        self._clock = clock
        self._identities: TLRUCache[bytes, Entry, datetime] = TLRUCache(max_tokens, ttu=_expires_at, timer=clock.now)
        self._verifications: SingleFlight[Identity] = SingleFlight()
        self._generation = 0

    async def verify(self, token: str) -> Identity:
        """Raises what the verifier raises. Concurrent calls with the same token share one verification."""
        key = _hash(token)
        entry = self._identities.get(key)
        if entry is not None:
            return entry[1]
        return await self._verifications((self._generation, key), lambda: self._verify(token, key))

    async def _verify(self, token: str, key: bytes) -> Identity:
        began_at, generation = self._clock.now(), self._generation
        identity = await self._verifier.verify(token)
        if generation == self._generation:
            self._identities[key] = (began_at, identity)
        return identity

    def forget(self, token: str) -> None:
        """Makes the next `verify` call the verifier again; a verification that is in progress is not cached."""
        self._generation += 1
        self._identities.pop(_hash(token), None)


def _expires_at(key: bytes, entry: Entry, now: datetime) -> datetime:
    """Counts from the start of the verification: what changes while it runs shows within a minute, too."""
    began_at, identity = entry
    return min(began_at + KEPT_FOR, identity.expires_at)


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
