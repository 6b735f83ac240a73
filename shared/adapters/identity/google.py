"""Tokens that Google signs for service accounts, and for people through gcloud: known by their e-mail address."""

from collections.abc import Collection

from shared.adapters.identity.claims import moment, verified_claims
from shared.adapters.identity.keys import RemoteKeys
from shared.errors import Unauthenticated
from shared.ports import Identity

ISSUERS = ("https://accounts.google.com", "accounts.google.com")
GCLOUD_AUDIENCE = "32555940559.apps.googleusercontent.com"
"""The client id that every person's gcloud has in its tokens: any Google account in the world can get one."""


class GoogleTokens:
    def __init__(self, keys: RemoteKeys, *, audiences: Collection[str], emails: Collection[str]) -> None:
        """`emails`: whom to believe; everybody else is refused."""
        self._keys = keys
        self._audiences = audiences
        self._emails = frozenset(email.lower() for email in emails if email)

    async def verify(self, token: str) -> Identity:
        """The user's id is the e-mail address in lower case."""
        claims = await verified_claims(token, keys=self._keys, issuers=ISSUERS, audiences=self._audiences)
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise Unauthenticated
        if email.lower() not in self._emails:
            raise Unauthenticated
        return Identity(user_id=email.lower(), expires_at=moment(claims, "exp"))
