"""Firebase's tokens: ID tokens of its clients, and the session cookies made of them, which differ in issuer and keys.

https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library
"""

from datetime import UTC, datetime

from shared.adapters.identity.claims import SKEW, moment, verified_claims
from shared.adapters.identity.keys import RemoteKeys
from shared.errors import Unauthenticated
from shared.ports import Identity

ID_TOKEN_ISSUER = "https://securetoken.google.com/"
SESSION_ISSUER = "https://session.firebase.google.com/"


class FirebaseTokens:
    def __init__(self, project: str, keys: RemoteKeys, *, issuer: str = ID_TOKEN_ISSUER) -> None:
        self.issuer = f"{issuer}{project}"
        self._project = project
        self._keys = keys

    async def verify(self, token: str) -> Identity:
        claims = await verified_claims(token, keys=self._keys, issuers=[self.issuer], audiences=[self._project])
        signed_in_at = moment(claims, "auth_time")
        if "@" in claims["sub"]:
            raise Unauthenticated  # an address is Google's to vouch for; a project may mint tokens of any uid
        if signed_in_at > datetime.now(UTC) + SKEW:
            raise Unauthenticated
        return Identity(user_id=claims["sub"], expires_at=moment(claims, "exp"), signed_in_at=signed_in_at)
