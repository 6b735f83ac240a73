"""Defines how tokens and session cookies are verified."""

from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct


class Identity(Struct, frozen=True, kw_only=True):
    """The user that a token proves, and until when."""

    user_id: str
    expires_at: datetime
    signed_in_at: datetime | None = None
    """When the person last signed in; None when the token does not say."""


class TokenVerifier(Protocol):
    async def verify(self, token: str) -> Identity:
        """Returns whom the token stands for. Raises Unauthenticated, or IdentityUnavailable if it cannot be checked."""


class CachedVerifier(TokenVerifier, Protocol):
    def forget(self, token: str) -> None:
        """Removes what this process remembers of the token."""


class SessionIssuer(TokenVerifier, Protocol):
    """Makes and verifies session cookies. A cookie of a disabled or signed-out user is Unauthenticated."""

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        """Returns the cookie of a new session for the user of the verified `id_token`. Raises what `verify` raises."""


class EndedSessions(Protocol):
    """Stores which sessions were ended, by a hash of the cookie; the cookie itself is not stored."""

    async def end(self, session_hash: str, *, expires_at: datetime) -> None:
        """Stores it until `expires_at`, when the cookie expires anyway. Ending a session twice changes nothing."""

    async def has_ended(self, session_hash: str) -> bool:
        """Returns whether the session was ended."""
