"""Chooses the verifier of a token by the issuer that the token names."""

from collections.abc import Mapping

from shared.adapters.identity.claims import unverified_claims
from shared.errors import Unauthenticated
from shared.ports import Identity, TokenVerifier


class TokensByIssuer:
    """Implements TokenVerifier. The issuer is not trusted at this point: the chosen verifier checks it again."""

    def __init__(self, verifiers: Mapping[str, TokenVerifier]) -> None:
        """`verifiers` maps the claim `iss` to a verifier."""
        self._verifiers = verifiers

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated for an unknown issuer, and what the chosen verifier raises."""
        issuer = unverified_claims(token).get("iss")
        verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise Unauthenticated
        return await verifier.verify(token)
