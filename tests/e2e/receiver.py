"""A receiver of webhooks: an HTTP server that keeps what it gets, and verifies it as the official library does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One delivery. `path` tells which endpoint it was for."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Returns the body. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """`answer` gives the status for a delivery."""

    port: int = 0
    got: list[Delivered] = field(default_factory=list)
    answer: Callable[[Delivered], int] = lambda delivered: 204

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def at(self, path: str) -> list[Delivered]:
        return [delivered for delivered in self.got if delivered.path == path]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            delivered = Delivered(path=self.path, headers=headers, body=body)
            receiver.got.append(delivered)
            self.send_response(receiver.answer(delivered))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Writes nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()
