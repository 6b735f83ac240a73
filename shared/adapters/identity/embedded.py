"""Makes and verifies the tokens and session cookies of the embedded mode, signed with a key in the data folder."""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from shared.adapters.identity.claims import SKEW, time_claim
from shared.errors import Unauthenticated
from shared.ports import Identity

ISSUER = "llm-runs-embedded"
SESSION_ISSUER = "llm-runs-embedded-session"
"""Differs from ISSUER so that a cookie is not accepted as a bearer token, nor a bearer token as a cookie."""
VALID_FOR = timedelta(days=7)


class EmbeddedTokens:
    """Implements TokenVerifier. The key is loaded on first use; when the folder has none, it is created."""

    def __init__(self, data_dir: Path, *, issuer: str = ISSUER) -> None:
        self._path = data_dir / "token.key"
        self._issuer = issuer
        self._key: bytes | None = None

    def mint(self, user_id: str, *, valid_for: timedelta = VALID_FOR, signed_in_at: datetime | None = None) -> str:
        """Returns a token for `user_id`. `signed_in_at` None means now."""
        now = datetime.now(UTC)
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": user_id,
            "iat": now,
            "exp": now + valid_for,
            "auth_time": int((signed_in_at or now).timestamp()),
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._load_key(), algorithm="HS256")

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated."""
        try:
            claims = jwt.decode(
                token,
                self._load_key(),
                algorithms=["HS256"],
                audience=self._issuer,
                issuer=self._issuer,
                leeway=SKEW,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
        except jwt.PyJWTError:
            raise Unauthenticated from None
        signed_in_at = time_claim(claims, "auth_time") if "auth_time" in claims else None
        return Identity(user_id=claims["sub"], expires_at=time_claim(claims, "exp"), signed_in_at=signed_in_at)

    def _load_key(self) -> bytes:
        if self._key is None:
            self._key = _read_or_create_key(self._path)
        return self._key


class EmbeddedSessions:
    """Implements SessionIssuer. A cookie is a token whose issuer is SESSION_ISSUER."""

    def __init__(self, data_dir: Path) -> None:
        self._tokens = EmbeddedTokens(data_dir, issuer=SESSION_ISSUER)

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        return self._tokens.mint(identity.user_id, valid_for=lasting, signed_in_at=identity.signed_in_at)

    async def verify(self, token: str) -> Identity:
        return await self._tokens.verify(token)


def _read_or_create_key(path: Path) -> bytes:
    """Returns the 32 bytes in `path`. When several processes create the file at once, the first one's key remains.

    It writes a temporary file and links it to `path`, so that no process reads a file that is not complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    if not path.exists():
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(32))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()
