"""Signs identity tokens in the form of Google's, for the Cloud Tasks emulator. No deployed function accepts them."""

import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://accounts.google.com"
VALID_SECONDS = 3600


class Signer:
    def __init__(self, path: Path) -> None:
        """Reads the RSA key in the file `path`; makes it when the file does not exist."""
        if not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            path.touch(mode=0o600)
            path.write_bytes(pem)
        self._key = path.read_bytes()

    def sign(self, email: str, audience: str) -> str:
        """Returns an OIDC token of the service account `email`, valid for an hour.

        https://cloud.google.com/docs/authentication/token-types#id
        """
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": audience, "sub": email, "email": email, "email_verified": True}
        return jwt.encode({**claims, "iat": now, "exp": now + VALID_SECONDS}, self._key, algorithm="RS256")
