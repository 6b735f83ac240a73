"""Verifies tokens that Google signs for service accounts, and for people through gcloud.

https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
"""

from collections.abc import Collection

from shared.adapters.identity.claims import time_claim, verified_claims
from shared.adapters.identity.keys import RemoteKeys
from shared.errors import Unauthenticated
from shared.ports import Identity

ISSUERS = ("https://accounts.google.com", "accounts.google.com")
GCLOUD_AUDIENCE = "32555940559.apps.googleusercontent.com"
"""The audience of the identity tokens that gcloud gets for people. Any Google account in the world can get one."""


class GoogleTokens:
    """Implements TokenVerifier. The user's id is the e-mail address in lower case."""

    def __init__(self, keys: RemoteKeys, *, audiences: Collection[str], emails: Collection[str]) -> None:
        """`audiences` are the accepted values of `aud`; `emails` the accounts that are accepted, in any case."""
        self._keys = keys
        self._audiences = audiences
        self._emails = frozenset(email.lower() for email in emails if email)

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated, and IdentityUnavailable when there are no keys to check with."""
        claims = await verified_claims(token, keys=self._keys, issuers=ISSUERS, audiences=self._audiences)
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise Unauthenticated
        if email.lower() not in self._emails:
            raise Unauthenticated
        return Identity(user_id=email.lower(), expires_at=time_claim(claims, "exp"))
