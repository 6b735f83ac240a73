"""Verifies Firebase's ID tokens and session cookies, which differ in issuer and public keys.

https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library
"""

from datetime import UTC, datetime

from shared.adapters.identity.claims import SKEW, time_claim, verified_claims
from shared.adapters.identity.keys import RemoteKeys
from shared.errors import Unauthenticated
from shared.ports import Identity

ID_TOKEN_ISSUER = "https://securetoken.google.com/"
SESSION_ISSUER = "https://session.firebase.google.com/"


class FirebaseTokens:
    """Implements TokenVerifier. The user's id is Firebase's uid."""

    def __init__(self, project: str, keys: RemoteKeys, *, issuer: str = ID_TOKEN_ISSUER) -> None:
        """`project` is the id of the Firebase project; `issuer` is ID_TOKEN_ISSUER or SESSION_ISSUER."""
        self.issuer = f"{issuer}{project}"
        self._project = project
        self._keys = keys

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated, and IdentityUnavailable when there are no keys to check with."""
        claims = await verified_claims(token, keys=self._keys, issuers=[self.issuer], audiences=[self._project])
        signed_in_at = time_claim(claims, "auth_time")
        if "@" in claims["sub"]:
            # A project may mint tokens of any uid. Users of Google's tokens are known by their e-mail address, so a
            # uid of that form would name another user.
            raise Unauthenticated
        if signed_in_at > datetime.now(UTC) + SKEW:
            raise Unauthenticated
        return Identity(user_id=claims["sub"], expires_at=time_claim(claims, "exp"), signed_in_at=signed_in_at)
