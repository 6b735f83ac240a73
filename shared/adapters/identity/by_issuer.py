"""Hands each token to the verifier of whoever it says has issued it; that one then believes nothing of it."""

from collections.abc import Mapping

from shared.adapters.identity.claims import unverified
from shared.errors import Unauthenticated
from shared.ports import Identity, TokenVerifier


class TokensByIssuer:
    def __init__(self, verifiers: Mapping[str, TokenVerifier]) -> None:
        """`verifiers`: {issuer: verifier}; an issuer without one is refused."""
        self._verifiers = verifiers

    async def verify(self, token: str) -> Identity:
        issuer = unverified(token, part=1).get("iss")
        verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise Unauthenticated
        return await verifier.verify(token)
