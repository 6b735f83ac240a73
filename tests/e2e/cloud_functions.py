"""What gcloud asks of Google before it calls a function: the function's address, and tokens for a service account."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PROJECT = "demo-gcloud"
REGION = "europe-west1"
GCLOUDS_OWN_CLIENT_ID = "32555940559.apps.googleusercontent.com"
"""The audience of the identity tokens that gcloud asks for; it cannot be told another."""
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"
"""What Google's library writes into its requests for tokens, wherever they go."""


class GoogleStandIn:
    """Cloud Functions' resource of each function, and the token endpoint of a service account."""

    def __init__(self, url: str, *, uri_of: Mapping[str, str], token_for: Callable[[str], str]) -> None:
        self.url = url
        self._uri_of = uri_of
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

    def function(self, path: str) -> dict[str, Any] | None:
        """GET /v2/projects/…/locations/…/functions/…, as the Cloud Functions API v2 answers."""
        name = path.partition("?")[0].removeprefix("/v2/")
        uri = self._uri_of.get(name.removeprefix(f"projects/{PROJECT}/locations/{REGION}/functions/"))
        if uri is None:
            return None
        return {"name": name, "environment": "GEN_2", "state": "ACTIVE", "serviceConfig": {"uri": uri}}

    def token(self, form: str) -> dict[str, Any]:
        """Who asks for an audience gets an identity token (developers.google.com/identity/protocols/oauth2)."""
        assertion = parse_qs(form)["assertion"][0]
        claims = jwt.decode(assertion, self._key.public_key(), algorithms=["RS256"], audience=TOKEN_AUDIENCE)
        if "target_audience" not in claims:
            return {"access_token": "for-google-only", "token_type": "Bearer", "expires_in": 3600}
        assert claims["target_audience"] == GCLOUDS_OWN_CLIENT_ID
        return {"id_token": self._token_for(claims["iss"].partition("@")[0])}


@contextmanager
def serving(uri_of: Mapping[str, str], token_for: Callable[[str], str]) -> Iterator[GoogleStandIn]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = google.function(self.path)
            self._send(404 if found is None else 200, found or {"error": {"code": 404, "status": "NOT_FOUND"}})

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._send(200, google.token(form))

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        google = GoogleStandIn(f"http://127.0.0.1:{server.server_port}", uri_of=uri_of, token_for=token_for)
        Thread(target=server.serve_forever, daemon=True).start()
        yield google
        server.shutdown()
