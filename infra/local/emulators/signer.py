"""Signs identity tokens as Google would, with a key made on first use: for the emulators only."""

import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://accounts.google.com"
VALID_SECONDS = 3600


class Signer:
    def __init__(self, path: Path) -> None:
        if not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            path.touch(mode=0o600)
            path.write_bytes(pem)
        self._key = path.read_bytes()

    def sign(self, email: str, audience: str) -> str:
        """An OIDC token of that service account (https://cloud.google.com/docs/authentication/token-types#id)."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": audience, "sub": email, "email": email, "email_verified": True}
        return jwt.encode({**claims, "iat": now, "exp": now + VALID_SECONDS}, self._key, algorithm="RS256")
