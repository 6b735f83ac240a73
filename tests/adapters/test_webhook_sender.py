"""The sender of webhooks: which addresses it reaches, how long it waits, and what it reads of an answer."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.adapters.webhooks.sender import HttpWebhookSender
from shared.domain.webhook_address import is_public, read_address
from shared.domain.webhook_delivery import Answer, DeliveryError
from shared.errors import InvalidRequest

HEADERS = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
PUBLIC = "93.184.215.14"
NAME = "receiver.example.com"
OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
Serve = Callable[[socket.socket], None]


@dataclass
class Listener:
    """A server on 127.0.0.1 that counts its connections and keeps what they send."""

    serve: Serve
    port: int = 0
    connections: int = 0
    received: list[bytes] = field(default_factory=list)
    context: ssl.SSLContext | None = None

    def run(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError), connection:
            content = connection.recv(65536)
            while content.startswith(b"POST") and not content.endswith(b"}"):
                content += connection.recv(65536)
            self.received.append(content)
            self.serve(connection)


@contextmanager
def listening(serve: Serve, *, context: ssl.SSLContext | None = None) -> Iterator[Listener]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        listener = Listener(serve=serve, port=server.getsockname()[1], context=context)
        threading.Thread(target=listener.run, args=(server,), daemon=True).start()
        yield listener
        server.shutdown(socket.SHUT_RDWR)


def answering(answer: bytes) -> Serve:
    return lambda connection: connection.sendall(answer)


async def send(url: str, **options: Any) -> Answer:
    sender = HttpWebhookSender(**{"seconds": 2.0, **options})
    try:
        return await sender.send(url, headers=HEADERS, body='{"type":"run.completed"}')
    finally:
        sender.close()


def local(listener: Listener, **options: Any) -> dict[str, Any]:
    """Lets the listener be reached although its address is private."""
    return {"allowed_hosts": {f"127.0.0.1:{listener.port}"}, **options}


FORMS = [
    "http://receiver.example.com/",
    "https://127.0.0.1:{port}/",
    "https://127.0.0.1.:{port}/",
    "https://127.1:{port}/",
    "https://2130706433:{port}/",
    "https://0x7f000001:{port}/",
    "https://0x7f.0.0.1:{port}/",
    "https://0177.0.0.1:{port}/",
    "https://017700000001:{port}/",
    "https://0:{port}/",
    "https://0.0.0.0:{port}/",
    "https://127.0.0.1%00.example.com:{port}/",
    "https://[::1]:{port}/",
    "https://[::]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/",
    "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://[64:ff9b:1::7f00:1]:{port}/",
    "https://[2002:7f00:1::]:{port}/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[fe80::1%25lo]:{port}/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.1.1/",
    "https://169.254.169.254/computeMetadata/v1/",
    "https://[fd00:ec2::254]/",
    "https://metadata.google.internal/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://192.0.2.1/",
    "https://localhost:{port}/",
    "https://localhost.:{port}/",
    "https://a.localhost:{port}/",
    "https://printer.local/",
    "https://intranet/",
    "https://receiver.example.com@127.0.0.1:{port}/",
    "https://user:word@receiver.example.com/",
    "https://@receiver.example.com/",
    "https://receiver.example.com:22/",
    "https://receiver.example.com:0/",
    "https://receiver.example.com:99999/",
    "https://receiver.example.com:443:{port}/",
    "https://receiver.example.com\\@127.0.0.1:{port}/",
    "https://receiver.example.com /",
    "https://receiver.example.com\r\nHost: x/",
    "https://ⓛocalhost/",
    "https:///",
    "https://",
    "ftp://receiver.example.com/",
    "file:///etc/passwd",
    "//receiver.example.com/",
    "receiver.example.com",
    "",
]


@pytest.mark.parametrize("form", FORMS)
async def test_an_url_that_no_webhook_may_have_is_refused_and_reaches_nobody(form: str) -> None:
    with listening(answering(OK)) as listener:
        url = form.replace("{port}", str(listener.port))
        with pytest.raises(InvalidRequest) as raised:
            read_address(url)
        answer = await send(url)
        assert (answer.code, answer.error) == (None, DeliveryError.ADDRESS_REFUSED)
        assert raised.value.field == "url" and listener.connections == 0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fe80::1%lo", "0.0.0.0"],
)
async def test_a_name_with_one_address_that_is_not_public_is_refused(address: str) -> None:
    with listening(answering(OK)) as listener:
        for found in ([address], [PUBLIC, address]):
            answer = await send(f"https://{NAME}:{listener.port}/", resolver=lambda host, port, found=found: found)
            assert answer.error is DeliveryError.ADDRESS_REFUSED
        assert listener.connections == 0


@pytest.mark.parametrize(
    "url", ["https://receiver.example.com", "https://a-b.example.co.uk:8443/x?y=1", f"https://{PUBLIC}/"]
)
def test_public_https_urls_are_accepted(url: str) -> None:
    assert not read_address(url).is_allowed


def test_ordinary_addresses_are_public() -> None:
    assert all(map(is_public, (PUBLIC, "8.8.8.8", "2606:4700:4700::1111")))


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """Returns (the context of a server with a certificate for NAME, the file with what signs it)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    whole, public = tmp_path / "server.pem", tmp_path / "ca.pem"
    whole.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(whole)
    return context, str(public)


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Listener], list[tuple[str, int]]]:
    """Leads every connection of urllib3 to the listener, and tells which addresses were asked for."""

    def route(listener: Listener) -> list[tuple[str, int]]:
        asked: list[tuple[str, int]] = []

        def connect(address: tuple[str, int], timeout: Any = None, **more: Any) -> socket.socket:
            asked.append(address)
            return socket.create_connection(("127.0.0.1", listener.port), 2)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        return asked

    return route


async def test_the_connection_goes_to_the_checked_address_with_the_names_of_the_host(
    certified: tuple[ssl.SSLContext, str], routed: Callable[[Listener], list[tuple[str, int]]]
) -> None:
    """A resolver that gives another address to the second question (DNS rebinding) is asked once only."""
    context, ca_file = certified
    names: list[str] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    with listening(answering(OK), context=context) as listener:
        asked = routed(listener)
        answer = await send(f"https://{NAME}/hooks?a=1", resolver=lambda host, port: next(answers), ca_file=ca_file)
        assert (answer.code, answer.error) == (204, None)
        assert asked == [(PUBLIC, 443)] and names == [NAME] and next(answers) == ["127.0.0.1"]
        [request] = listener.received
    assert request.startswith(b"POST /hooks?a=1 HTTP/1.1\r\n") and f"\r\nHost: {NAME}\r\n".encode() in request
    assert b"webhook-id: msg_1" in request and request.endswith(b'{"type":"run.completed"}')


async def test_a_certificate_for_another_host_or_of_nobody_known_is_refused(
    certified: tuple[ssl.SSLContext, str], routed: Callable[[Listener], list[tuple[str, int]]]
) -> None:
    context, ca_file = certified
    with listening(answering(OK), context=context) as listener:
        routed(listener)
        for url, options in (("https://other.example.com/", {"ca_file": ca_file}), (f"https://{NAME}/", {})):
            answer = await send(url, resolver=lambda host, port: [PUBLIC], **options)
            assert (answer.code, answer.error) == (None, DeliveryError.TLS)
        assert not any(listener.received)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(code: int) -> None:
    with listening(answering(OK)) as behind:
        location = f"HTTP/1.1 {code} Found\r\nLocation: http://127.0.0.1:{behind.port}/\r\nContent-Length: 0\r\n\r\n"
        with listening(answering(location.encode())) as listener:
            allowed = {f"127.0.0.1:{listener.port}", f"127.0.0.1:{behind.port}"}
            answer = await send(f"http://127.0.0.1:{listener.port}/", allowed_hosts=allowed)
        assert (answer.code, answer.error) == (code, DeliveryError.STATUS) and behind.connections == 0


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(answering(OK)) as proxy, listening(answering(OK)) as listener:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = await send(f"http://127.0.0.1:{listener.port}/", **local(listener))
        assert (answer.code, proxy.connections, listener.connections) == (204, 0, 1)


@pytest.mark.parametrize(
    ("code", "error"),
    [(200, None), (299, None), (410, DeliveryError.GONE), (400, DeliveryError.STATUS), (503, DeliveryError.STATUS)],
)
async def test_only_2xx_is_received(code: int, error: DeliveryError | None) -> None:
    with listening(answering(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n".encode())) as listener:
        answer = await send(f"http://127.0.0.1:{listener.port}/", **local(listener))
    assert (answer.code, answer.error) == (code, error)


def silent(connection: socket.socket) -> None:
    time.sleep(5)


def dripping(text: bytes) -> Serve:
    def drip(connection: socket.socket) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    return drip


@pytest.mark.parametrize(
    "serve",
    [silent, dripping(OK), dripping(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100)],
    ids=["silent", "drips its status", "drips a header"],
)
async def test_a_slow_receiver_ends_the_try_in_time(serve: Serve) -> None:
    with listening(serve) as listener:
        began = time.monotonic()
        answer = await send(f"http://127.0.0.1:{listener.port}/", **local(listener, seconds=0.5))
        assert (answer.code, answer.error) == (None, DeliveryError.TIMEOUT)
        assert time.monotonic() - began < 1.5 and answer.duration < timedelta(seconds=1.5)


async def test_a_receiver_that_drips_its_handshake_is_left_in_time(
    routed: Callable[[Listener], list[tuple[str, int]]],
) -> None:
    with listening(dripping(b"\x16\x03\x03\x40\x00" + b"x" * 100)) as listener:
        routed(listener)
        began = time.monotonic()
        answer = await send(f"https://{NAME}/", resolver=lambda host, port: [PUBLIC], seconds=0.5)
    assert answer.error is DeliveryError.TIMEOUT and time.monotonic() - began < 1.5


async def test_the_body_of_an_answer_is_not_read() -> None:
    sent: list[int] = []

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        with suppress(OSError):
            while True:
                sent.append(connection.send(b"x" * 65536))

    with listening(flood) as listener:
        answer = await send(f"http://127.0.0.1:{listener.port}/", **local(listener))
        time.sleep(0.2)
    assert (answer.code, answer.error) == (200, None) and sum(sent) < 16 * 1024 * 1024


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 twohundred OK\r\n\r\n", b"\x00" * 100])
async def test_what_is_no_http_is_a_failed_connection(answer: bytes) -> None:
    with listening(answering(answer)) as listener:
        got = await send(f"http://127.0.0.1:{listener.port}/", **local(listener))
    assert got.code is None and got.error is DeliveryError.CONNECTION


def unknown(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror


async def test_a_name_without_an_address_and_a_closed_port_are_told_apart() -> None:
    assert (await send(f"https://{NAME}/", resolver=unknown)).error is DeliveryError.NOT_RESOLVED
    with listening(answering(OK)) as listener:
        closed = local(listener)
    assert (await send(f"http://127.0.0.1:{listener.port}/", **closed)).error is DeliveryError.CONNECTION


async def test_a_resolver_that_hangs_holds_no_try_up() -> None:
    def hang(host: str, port: int) -> Sequence[str]:
        time.sleep(1.5)
        return [PUBLIC]

    began = time.monotonic()
    answer = await send(f"https://{NAME}/", resolver=hang, seconds=0.3)
    assert answer.error is DeliveryError.TIMEOUT and time.monotonic() - began < 1.4
