"""Somebody else's public keys, fetched when they are needed and kept, so that their server may be slow or away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from shared import log
from shared.adapters.identity.http import CALL_SECONDS, IdentityHttp
from shared.adapters.identity.single_flight import SingleFlight
from shared.errors import IdentityUnavailable, Unauthenticated
from shared.ports import Clock

MIN_FRESH = timedelta(minutes=5)
MAX_FRESH = timedelta(hours=24)
STALE_FOR = timedelta(hours=24)
FAILURE_PAUSE = timedelta(minutes=1)
"""After a failed fetch, while the keys there are can still be used."""
RETRY_PAUSE = timedelta(seconds=5)
"""After a failed fetch, as long as there are no keys at all."""
UNKNOWN_PAUSE = timedelta(seconds=20)
UNKNOWN_AT_ONCE = 3
"""For key ids that are not in the set: one fetch a pause, and as many as this at once after a while without.

Made-up ones drive no more, and keep a new key out for no longer than a pause: what is fetched for them brings it too.
"""
MIN_KEY_BITS = 2048
_NEVER = datetime.min.replace(tzinfo=UTC)


class RemoteKeys:
    """A JWK set (RFC 7517) at `url`; only its RSA keys for signatures count."""

    def __init__(self, url: str, clock: Clock, http: IdentityHttp, *, seconds: float = CALL_SECONDS) -> None:
        """`seconds` bounds each fetch."""
        self._url = url
        self._clock = clock
        self._http = http
        self._seconds = seconds
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fresh_until = self._usable_until = self._next_fetch_at = self._spent_until = _NEVER
        self._fetches: SingleFlight[None] = SingleFlight()

    async def key(self, kid: str) -> jwt.PyJWK:
        """Raises Unauthenticated for one that is not in the set, IdentityUnavailable while there is no set."""
        now = self._clock.now()
        known = self._keys.get(kid) if now < self._usable_until else None
        fetching = self._fetches.is_under_way(self._url)
        if known is not None and (now < self._fresh_until or fetching):
            return known  # a key that is due for a refresh is good enough while another request fetches
        if fetching or self._wants_fetch(kid):
            await self._fetches(self._url, self._fetch)
        if self._clock.now() >= self._usable_until:
            raise IdentityUnavailable
        if kid not in self._keys:
            raise Unauthenticated
        return self._keys[kid]

    def _wants_fetch(self, kid: str) -> bool:
        now = self._clock.now()
        if now < self._next_fetch_at:
            return False
        is_affordable = self._spent_until - now <= (UNKNOWN_AT_ONCE - 1) * UNKNOWN_PAUSE
        return now >= self._fresh_until or (kid not in self._keys and is_affordable)

    async def _fetch(self) -> None:
        """Keeps what there is when nothing better comes."""
        keys, max_age = await self._fetched()
        now = self._clock.now()
        if not keys:
            log.warning("keys not fetched", url=self._url)
            self._next_fetch_at = now + (FAILURE_PAUSE if now < self._usable_until else RETRY_PAUSE)
            return
        self._keys = keys
        self._next_fetch_at = now
        self._spent_until = max(self._spent_until, now) + UNKNOWN_PAUSE
        self._fresh_until = now + min(max(max_age or MIN_FRESH, MIN_FRESH), MAX_FRESH)
        self._usable_until = self._fresh_until + STALE_FOR

    async def _fetched(self) -> tuple[dict[str, jwt.PyJWK], timedelta | None]:
        try:
            answer = await self._http.call("GET", self._url, seconds=self._seconds)
        except IdentityUnavailable:
            return {}, None
        return (read_keys(answer.body) if answer.status == 200 else {}), answer.max_age


def read_keys(body: Any) -> dict[str, jwt.PyJWK]:
    """{kid: key}; what is no usable key is passed over."""
    entries = body.get("keys") if isinstance(body, dict) else None
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        key = _read_key(entry)
        if key is not None:
            found[entry["kid"]] = key
    return found


def _read_key(entry: Any) -> jwt.PyJWK | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("kty") != "RSA":
        return None
    if entry.get("alg", "RS256") != "RS256" or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if key.key.key_size >= MIN_KEY_BITS else None
