"""What gcloud asks of Google before it calls a function: the function's address, and tokens for a service account."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

PROJECT = "demo-gcloud"
REGION = "europe-west1"
GCLOUDS_OWN_CLIENT_ID = "32555940559.apps.googleusercontent.com"
"""The audience of the identity tokens that gcloud asks for; it cannot be told another."""
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"
"""What Google's library writes into its requests for tokens, wherever they go."""


class GoogleStandIn:
    """A service account's key files, and the endpoint that gives tokens for them."""

    def __init__(self, url: str, *, token_for: Callable[[str], str]) -> None:
        self.url = url
        self._token_for = token_for
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def write_key_file(self, path: Path, *, user: str) -> Path:
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": f"{user}@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(content))
        return path

    def token(self, request: Request) -> Response:
        """Who asks for an audience gets an identity token (developers.google.com/identity/protocols/oauth2)."""
        claims = jwt.decode(
            request.form["assertion"], self._key.public_key(), algorithms=["RS256"], audience=TOKEN_AUDIENCE
        )
        if "target_audience" not in claims:
            return _json({"access_token": "for-google-only", "token_type": "Bearer", "expires_in": 3600})
        assert claims["target_audience"] == GCLOUDS_OWN_CLIENT_ID
        return _json({"id_token": self._token_for(claims["iss"].partition("@")[0])})


def _json(body: Any) -> Response:
    return Response(json.dumps(body), content_type="application/json")


@contextmanager
def serving(uri_of: Mapping[str, str], token_for: Callable[[str], str]) -> Iterator[GoogleStandIn]:
    """A request that nothing here expects, and a token request with other claims, fail the test."""
    with HTTPServer() as server:
        google = GoogleStandIn(server.url_for("").rstrip("/"), token_for=token_for)
        server.expect_request("/token", method="POST").respond_with_handler(google.token)
        for function, uri in uri_of.items():
            name = f"projects/{PROJECT}/locations/{REGION}/functions/{function}"
            resource = {"name": name, "environment": "GEN_2", "state": "ACTIVE", "serviceConfig": {"uri": uri}}
            server.expect_request(f"/v2/{name}", method="GET").respond_with_json(resource)
        yield google
        server.check()
