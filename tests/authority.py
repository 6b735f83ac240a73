"""Google's and Firebase's part in signing people in, as a real server on this machine with keys made for the test."""

import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from shared.wiring.identity import Endpoints

PROJECT = "demo-callers"
AUDIENCE = "https://runs.example.com"
GCLOUD = "32555940559.apps.googleusercontent.com"
ROBOT = "robot@demo-callers.iam.gserviceaccount.com"


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private: rsa.RSAPrivateKey

    def jwk(self) -> dict[str, Any]:
        public: dict[str, Any] = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "alg": "RS256", "use": "sig"}

    def sign(self, claims: dict[str, Any], *, kid: str | None = None) -> str:
        return jwt.encode(claims, self.private, algorithm="RS256", headers={"kid": kid or self.kid})

    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@cache
def signing_key(kid: str, bits: int = 2048) -> SigningKey:
    """Made once a test run: making one takes a while."""
    return SigningKey(kid, rsa.generate_private_key(public_exponent=65537, key_size=bits))


@dataclass(frozen=True)
class Asked:
    path: str
    authorization: str | None
    body: Any


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    when: Event | None = None
    """Said only when this is set, or after ten seconds."""


class Authority:
    """`replies` by path stand before what it would say by itself; `asked` is all that it was asked, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.firebase = signing_key("firebase-1")
        self.sessions = signing_key("sessions-1")
        self.google = signing_key("google-1")
        self.accounts: dict[str, dict[str, Any]] = {"demo": {"localId": "demo", "validSince": "1"}}
        self.replies: dict[str, Reply] = {}
        self.asked: list[Asked] = []

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(
            firebase_keys=f"{self.url}/firebase",
            session_keys=f"{self.url}/sessions",
            google_keys=f"{self.url}/google",
            accounts=f"{self.url}/v1",
        )

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def id_token(self, user_id: str = "demo", *, key: SigningKey | None = None, **changes: Any) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": f"https://securetoken.google.com/{PROJECT}",
            "aud": PROJECT,
            "sub": user_id,
            "user_id": user_id,
        }
        claims |= {"iat": now, "exp": now + 3600, "auth_time": now, **changes}
        return (key or self.firebase).sign({name: value for name, value in claims.items() if value is not None})

    def session_cookie(self, user_id: str = "demo", **changes: Any) -> str:
        issuer = f"https://session.firebase.google.com/{PROJECT}"
        return self.id_token(user_id, key=self.sessions, **{"iss": issuer, **changes})

    def oidc_token(self, email: str | None = ROBOT, **changes: Any) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "sub": "1234567890",
            "email": email,
        }
        claims |= {"email_verified": True, "iat": now, "exp": now + 3600, **changes}
        return self.google.sign({name: value for name, value in claims.items() if value is not None})

    def service_account_file(self, path: Path) -> Path:
        """Credentials whose access tokens come from here, whatever signs the request: a short key is read quickly."""
        account = {
            "type": "service_account",
            "project_id": PROJECT,
            "client_email": ROBOT,
            "private_key": signing_key("account", 1024).private_pem().decode(),
            "private_key_id": "1",
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(account))
        return path

    def serve(self, request: Request) -> Response:
        is_form = request.mimetype == "application/x-www-form-urlencoded"
        body = request.form.to_dict(flat=False) if is_form else request.get_json() if request.data else None
        asked = Asked(request.path, request.headers.get("Authorization"), body)
        self.asked.append(asked)
        reply = self.answer(asked)
        if reply.when is not None:
            reply.when.wait(10)
        return Response(reply.body, reply.status, reply.headers)

    def answer(self, asked: Asked) -> Reply:
        keys = {"/firebase": self.firebase, "/sessions": self.sessions, "/google": self.google}.get(asked.path)
        if asked.path in self.replies:
            return self.replies[asked.path]
        if keys is not None:
            return _json({"keys": [keys.jwk()]}, **{"Cache-Control": "public, max-age=19800, must-revalidate"})
        if asked.path == "/token":
            return _json({"access_token": "an-access-token", "expires_in": 3600, "token_type": "Bearer"})
        if asked.path == f"/v1/projects/{PROJECT}:createSessionCookie":
            claims = jwt.decode(asked.body["idToken"], options={"verify_signature": False})
            now, kept = int(time.time()), {name: claims[name] for name in ("sub", "auth_time")}
            ends = now + int(asked.body["validDuration"])
            return _json({"sessionCookie": self.session_cookie(kept["sub"], **{**kept, "iat": now, "exp": ends})})
        if asked.path == f"/v1/projects/{PROJECT}/accounts:lookup":
            found = [self.accounts[user] for user in asked.body["localId"] if user in self.accounts]
            return _json({"users": found} if found else {})
        return Reply(404)


def _json(body: Any, **headers: str) -> Reply:
    return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


@pytest.fixture(scope="session")
def make_httpserver() -> Iterator[HTTPServer]:
    """One server for all tests of a process; a reply that waits holds up no other.

    Werkzeug logs each request, through the same root logger as the functions that are under test.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def authority(httpserver: HTTPServer) -> Authority:
    authority = Authority(httpserver.url_for("").rstrip("/"))
    httpserver.expect_request(re.compile("")).respond_with_handler(authority.serve)
    return authority
