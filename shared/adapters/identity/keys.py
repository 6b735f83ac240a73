"""Fetches and caches the public keys of a token issuer, whose server may be slow or down."""

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
"""Bounds of the time for which keys count as fresh; within them, the server's `max-age` decides."""
STALE_FOR = timedelta(hours=24)
"""How long keys that are no longer fresh are used while no new ones can be fetched."""
FAILURE_PAUSE = timedelta(minutes=1)
"""Time between a failed fetch and the next one while there are usable keys."""
RETRY_PAUSE = timedelta(seconds=5)
"""Time between a failed fetch and the next one while there are none."""
UNKNOWN_KID_PAUSE = timedelta(seconds=20)
UNKNOWN_KID_BURST = 3
"""Rate limit of fetches for key ids that are not in the set: UNKNOWN_KID_BURST at once, then one in each pause.

Anybody can send tokens with invented key ids. They cause no more fetches than that, and delay a new key by one pause
at most, because each fetch loads the whole set.
"""
MIN_KEY_BITS = 2048
_NEVER = datetime.min.replace(tzinfo=UTC)


class RemoteKeys:
    """Holds the RSA signature keys of the JWK set (RFC 7517) at one URL."""

    def __init__(self, url: str, clock: Clock, http: IdentityHttp, *, timeout_seconds: float = CALL_SECONDS) -> None:
        """`timeout_seconds` bounds each fetch."""
        self._url = url
        self._clock = clock
        self._http = http
        self._timeout_seconds = timeout_seconds
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fresh_until = self._usable_until = self._next_fetch_at = _NEVER
        self._next_arrival_at = _NEVER  # theoretical arrival time of the generic cell rate algorithm (ITU-T I.371)
        self._fetches: SingleFlight[None] = SingleFlight()

    async def key(self, kid: str) -> jwt.PyJWK:
        """Returns the key with this id, after a fetch if needed.

        Raises Unauthenticated when the set does not contain it, IdentityUnavailable while there is no usable set.
        """
        now = self._clock.now()
        known = self._keys.get(kid) if now < self._usable_until else None
        is_fetching = self._fetches.is_in_progress(self._url)
        if known is not None and (now < self._fresh_until or is_fetching):
            return known  # while one request fetches, the others do not wait: they use the key that is no longer fresh
        if is_fetching or self._should_fetch(kid):
            await self._fetches(self._url, self._fetch)
        if self._clock.now() >= self._usable_until:
            raise IdentityUnavailable
        if kid not in self._keys:
            raise Unauthenticated
        return self._keys[kid]

    def _should_fetch(self, kid: str) -> bool:
        now = self._clock.now()
        if now < self._next_fetch_at:
            return False
        is_within_rate = self._next_arrival_at - now <= (UNKNOWN_KID_BURST - 1) * UNKNOWN_KID_PAUSE
        return now >= self._fresh_until or (kid not in self._keys and is_within_rate)

    async def _fetch(self) -> None:
        """Replaces the keys; keeps the present ones when the fetch fails or finds no key."""
        keys, max_age = await self._load()
        now = self._clock.now()
        if not keys:
            log.warning("keys not fetched", url=self._url)
            self._next_fetch_at = now + (FAILURE_PAUSE if now < self._usable_until else RETRY_PAUSE)
            return
        self._keys = keys
        self._next_fetch_at = now
        self._next_arrival_at = max(self._next_arrival_at, now) + UNKNOWN_KID_PAUSE
        self._fresh_until = now + min(max(max_age or MIN_FRESH, MIN_FRESH), MAX_FRESH)
        self._usable_until = self._fresh_until + STALE_FOR

    async def _load(self) -> tuple[dict[str, jwt.PyJWK], timedelta | None]:
        """Returns the keys by id, none when the server does not answer with 200, and the answer's `max-age`."""
        try:
            response = await self._http.request("GET", self._url, timeout_seconds=self._timeout_seconds)
        except IdentityUnavailable:
            return {}, None
        return (read_keys(response.body) if response.status == 200 else {}), response.max_age


def read_keys(body: Any) -> dict[str, jwt.PyJWK]:
    """Returns the keys of a decoded JWK set by key id; skips every entry that is not a key to verify RS256 with."""
    entries = body.get("keys") if isinstance(body, dict) else None
    keys = {}
    for entry in entries if isinstance(entries, list) else []:
        key = _read_key(entry)
        if key is not None:
            keys[entry["kid"]] = key
    return keys


def _read_key(entry: Any) -> jwt.PyJWK | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("kty") != "RSA":
        return None
    if entry.get("alg", "RS256") != "RS256" or entry.get("use", "sig") != "sig" or "d" in entry:
        return None  # "d" makes it a private key, which a key server never publishes
    try:
        key = jwt.PyJWK(entry, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if key.key.key_size >= MIN_KEY_BITS else None
