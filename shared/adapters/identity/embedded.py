"""Tokens and sessions of the embedded mode: signed with a key, made on first use, that stays in the data folder."""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from shared.adapters.identity.claims import SKEW, moment
from shared.errors import Unauthenticated
from shared.ports import Identity

ISSUER = "llm-runs-embedded"
SESSION_ISSUER = "llm-runs-embedded-session"
"""Another one, so that no cookie is a bearer token, nor the other way round."""
VALID_FOR = timedelta(days=7)


class EmbeddedTokens:
    def __init__(self, data_dir: Path, *, issuer: str = ISSUER) -> None:
        self._path = data_dir / "token.key"
        self._issuer = issuer
        self._key: bytes | None = None

    def mint(self, user_id: str, *, valid_for: timedelta = VALID_FOR, signed_in_at: datetime | None = None) -> str:
        """`signed_in_at` is now unless it is given."""
        now = datetime.now(UTC)
        claims = {"iss": self._issuer, "aud": self._issuer, "sub": user_id, "iat": now, "exp": now + valid_for}
        own = {"auth_time": int((signed_in_at or now).timestamp()), "jti": secrets.token_hex(8)}
        return jwt.encode({**claims, **own}, self._load_key(), algorithm="HS256")

    async def verify(self, token: str) -> Identity:
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
        signed_in_at = moment(claims, "auth_time") if "auth_time" in claims else None
        return Identity(user_id=claims["sub"], expires_at=moment(claims, "exp"), signed_in_at=signed_in_at)

    def _load_key(self) -> bytes:
        if self._key is None:
            self._key = _read_or_make(self._path)
        return self._key


class EmbeddedSessions:
    """Cookies are tokens under an issuer of their own."""

    def __init__(self, data_dir: Path) -> None:
        self._tokens = EmbeddedTokens(data_dir, issuer=SESSION_ISSUER)

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        return self._tokens.mint(identity.user_id, valid_for=lasting, signed_in_at=identity.signed_in_at)

    async def verify(self, token: str) -> Identity:
        return await self._tokens.verify(token)


def _read_or_make(path: Path) -> bytes:
    """Written aside and linked into cursor, so that of several processes the first one's key stands, and whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    if not path.exists():
        aside.touch(mode=0o600)
        aside.write_bytes(secrets.token_bytes(32))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return path.read_bytes()
