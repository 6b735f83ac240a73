"""Bearer tokens of the embedded mode: signed with a key that is made on first use and stays in the data folder."""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from shared.errors import Unauthenticated
from shared.ports import Identity

ISSUER = "llm-runs-embedded"
VALID_FOR = timedelta(days=7)
SKEW = timedelta(seconds=10)


class EmbeddedTokens:
    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "token.key"
        self._key: bytes | None = None

    def mint(self, user_id: str) -> str:
        now = datetime.now(UTC)
        claims = {"iss": ISSUER, "aud": ISSUER, "sub": user_id, "iat": now, "exp": now + VALID_FOR}
        return jwt.encode(claims, self._load_key(), algorithm="HS256")

    async def verify(self, token: str) -> Identity:
        try:
            claims = jwt.decode(
                token,
                self._load_key(),
                algorithms=["HS256"],
                audience=ISSUER,
                issuer=ISSUER,
                leeway=SKEW,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
        except jwt.PyJWTError:
            raise Unauthenticated from None
        return Identity(user_id=claims["sub"], expires_at=datetime.fromtimestamp(claims["exp"], UTC))

    def _load_key(self) -> bytes:
        if self._key is None:
            self._key = _read_or_make(self._path)
        return self._key


def _read_or_make(path: Path) -> bytes:
    """Written aside and linked into place, so that of several processes the first one's key stands, and whole."""
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
