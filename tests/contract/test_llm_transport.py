"""The transport of LLM calls, on connections that stay open: what is used again, what is not, and what is verified."""

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.adapters.llm.request import prepare_request
from shared.adapters.llm.transport import NotConnected, Transport, host_line
from shared.errors import LlmRefused, LlmUnavailable

Answer = Callable[[socket.socket], bool]
"""Writes one response; returns whether the connection stays open."""


class Server:
    """Answers the requests of each connection with the next of `answers`, and counts connections."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.paths: list[bytes] = []
        self.tls = tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.idle = threading.Event()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                while received := connection.recv(65536):
                    self.paths.append(received.split(b" ")[1])
                    if not self.answers.pop(0)(connection):
                        break
        self.idle.set()


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(*answers, tls=tls)
    threading.Thread(target=server.serve, daemon=True).start()
    with server.listener:
        yield server


def says(content: bytes, *headers: str, status: int = 200, stays: bool = True, size: int | None = None) -> Answer:
    def answer(connection: socket.socket) -> bool:
        head = [f"HTTP/1.1 {status} Whatever", *headers]
        if not any(header.startswith("Transfer-Encoding") for header in headers):
            head.append(f"Content-Length: {len(content) if size is None else size}")
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        return stays

    return answer


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


def fetch(transport: Transport, url: str, *, seconds: float = 5) -> tuple[int, bytes]:
    with transport.send(prepare_request("GET", url, {}, None), timeout=(seconds, seconds)) as response:
        content = b""
        while chunk := response.raw.read1(65536, decode_content=True):
            content += chunk
        return response.status_code, content


CHUNKED = says(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "Transfer-Encoding: chunked")


@pytest.mark.parametrize("answer", [says(b"abcde"), CHUNKED, says(b"", size=0)])
def test_a_connection_is_used_again_when_its_response_was_read(transport: Transport, answer: Answer) -> None:
    with serving(answer, answer, answer) as server:
        answers = [fetch(transport, f"{server.url}/{number}") for number in range(3)]
        assert len(set(answers)) == 1 and answers[0][0] == 200
        assert server.paths == [b"/0", b"/1", b"/2"] and server.connections == 1


def test_who_stops_an_answer_too_late_stops_no_later_one_on_its_connection(transport: Transport) -> None:
    with serving(CHUNKED, says(b"abcde"), says(b"fghij")) as server:
        request = prepare_request("GET", server.url, {}, None)
        with transport.send(request, timeout=(5, 5)) as earlier:
            while earlier.raw.read1(65536):
                pass
        with transport.send(request, timeout=(5, 5)) as later:
            earlier.raw.shutdown()
            earlier.close()
            earlier.raw.close()
            assert later.raw.read1(65536) == b"abcde"
        assert fetch(transport, server.url) == (200, b"fghij")
        assert server.connections == 1


def test_a_connection_whose_answer_was_stopped_is_not_used_again(transport: Transport) -> None:
    with serving(says(b"abcde"), says(b"fghij")) as server:
        with transport.send(prepare_request("GET", server.url, {}, None), timeout=(5, 5)) as response:
            assert response.raw.read1(65536) == b"abcde"
            response.raw.shutdown()
        assert fetch(transport, server.url) == (200, b"fghij")
        assert server.connections == 2


def test_a_connection_whose_response_was_not_read_is_closed(transport: Transport) -> None:
    with serving(says(b"abcde", size=10), says(b"fghij")) as server:
        transport.send(prepare_request("GET", server.url, {}, None), timeout=(5, 5)).close()
        assert fetch(transport, server.url) == (200, b"fghij")
        assert server.connections == 2


def test_a_connection_that_the_server_has_closed_is_not_used(transport: Transport) -> None:
    with serving(says(b"one", stays=False), says(b"two")) as server:
        assert fetch(transport, server.url) == (200, b"one")
        assert server.idle.wait(5)
        assert fetch(transport, server.url) == (200, b"two")
        assert server.connections == 2


def test_a_server_that_wants_no_further_request_gets_none(transport: Transport) -> None:
    with serving(says(b"one", "Connection: close"), says(b"two")) as server:
        assert [fetch(transport, server.url)[1] for _ in range(2)] == [b"one", b"two"]
        assert server.connections == 2


def test_a_connection_on_which_more_came_than_the_answer_is_not_used_again(transport: Transport) -> None:
    with serving(says(b"abcde", size=3), says(b"one" + b"HTTP/1.1 200 OK\r\n\r\n", size=3), says(b"two")) as server:
        assert [fetch(transport, server.url)[1] for _ in range(3)] == [b"abc", b"one", b"two"]
        assert server.connections == 3


def test_an_answer_without_a_length_ends_with_its_connection(transport: Transport) -> None:
    def answer(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nab")
        connection.sendall(b"cde")
        return False

    with serving(answer, says(b"two")) as server:
        assert [fetch(transport, server.url)[1] for _ in range(2)] == [b"abcde", b"two"]
        assert server.connections == 2


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_what_a_server_says_before_its_answer_is_not_the_answer(transport: Transport, status: str) -> None:
    def answer(connection: socket.socket) -> bool:
        connection.sendall(f"HTTP/1.1 {status}\r\nRetry-After: 5\r\n\r\n".encode())
        return says(b"abc", status=201)(connection)

    with serving(answer, answer) as server:
        with transport.send(prepare_request("GET", server.url, {}, None), timeout=(5, 5)) as response:
            assert response.status_code == 201 and dict(response.headers) == {"Content-Length": "3"}
            assert response.raw.read1(10) == b"abc"
        assert fetch(transport, server.url) == (201, b"abc")
        assert server.connections == 1


def test_an_answer_in_another_protocol_has_no_content(transport: Transport) -> None:
    answer = says(b"", "Upgrade: websocket", "Connection: upgrade", status=101)
    with serving(answer, answer) as server:
        assert [fetch(transport, server.url) for _ in range(2)] == [(101, b""), (101, b"")]
        assert server.connections == 2


def test_an_answer_may_come_byte_by_byte(transport: Transport) -> None:
    content = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"

    def answer(connection: socket.socket) -> bool:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in content:
            connection.sendall(bytes([byte]))
        return True

    with serving(answer, answer) as server:
        assert [fetch(transport, server.url) for _ in range(2)] == [(200, b"abcde")] * 2
        assert server.connections == 1


def test_lines_may_end_as_those_of_careless_servers_do(transport: Transport) -> None:
    def answer(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\nX-Folded: one\n two\nContent-Length: 3\n\nabc")
        return True

    with serving(answer) as server:
        assert fetch(transport, server.url) == (200, b"abc")


def test_parts_of_an_answer_are_read_one_by_one(transport: Transport) -> None:
    with serving(CHUNKED) as server:
        response = transport.send(prepare_request("GET", server.url, {}, None), timeout=(5, 5))
        with response:
            assert [response.raw.read1(65536) for _ in range(3)] == [b"abc", b"de", b""]


class RecordingServer(Server):
    """Answers one request when it ends with `end`."""

    def __init__(self, end: bytes) -> None:
        super().__init__()
        self.end = end
        self.received = b""

    def answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while not self.received.endswith(self.end) and (received := connection.recv(1_000_000)):
                self.received += received
            says(b"thanks")(connection)


def recorded(
    transport: Transport, path: str, headers: dict[str, str], body: object, *, end: bytes
) -> tuple[str, bytes]:
    """Returns (the server's address, what it has got)."""
    server = RecordingServer(end)
    threading.Thread(target=server.serve, daemon=True).start()
    with server.listener:
        request = prepare_request("POST", server.url + path, headers, body)
        with transport.send(request, timeout=(5, 5)) as response:
            assert response.raw.read1(10) == b"thanks"
    return server.url.removeprefix("http://"), server.received


def test_a_request_is_sent_as_it_was_prepared(transport: Transport) -> None:
    address, received = recorded(transport, "/a%20b?c=d", {"X-Name": "J\u00fcrgen"}, {"text": "\u00fc"}, end=b"}")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.decode("latin-1").split("\r\n") == [
        "POST /a%20b?c=d HTTP/1.1",
        f"Host: {address}",
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Content-Type: application/json",
        "User-Agent: llm-runs",
        "X-Name: J\u00fcrgen",
        "Content-Length: 18",
    ]
    assert body == b'{"text": "\\u00fc"}'


def test_a_large_request_arrives_whole(transport: Transport) -> None:
    _, received = recorded(transport, "/", {}, "x" * 1_000_000, end=b'x"')
    assert received.partition(b"\r\n\r\n")[2] == b'"' + b"x" * 1_000_000 + b'"'


def test_a_header_with_a_line_break_is_not_sent(transport: Transport) -> None:
    with serving() as server:
        request = prepare_request("GET", server.url, {}, None)
        request.headers["X-Key"] = "a\r\nX-Other: b"
        with pytest.raises(requests.exceptions.InvalidHeader):
            transport.send(request, timeout=(5, 5))
        assert server.connections == 0


@pytest.mark.parametrize("key", ["a\u201cb\u201d", "a\nb", "\u043a\u043b\u044e\u0447"])
@pytest.mark.parametrize(("method", "error"), [("POST", LlmRefused), ("GET", LlmUnavailable)])
def test_a_key_that_no_header_can_carry_is_answered_like_a_wrong_key(
    method: str, error: type[LlmRefused | LlmUnavailable], key: str
) -> None:
    with pytest.raises(error, match="does not accept our credentials") as raised:
        prepare_request(method, "http://llm.example", {"Authorization": f"Bearer {key}"}, None)
    assert raised.value.code == "llm_credentials"
    assert raised.value.__suppress_context__, "the error that it comes from quotes the key"


@pytest.mark.parametrize(
    "server", ["https://llm.example", "http://127.0.0.1:8080", "http://LLM.example:080", "http://a.b:7"]
)
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/jobs",
        "/jobs/0f-1_2~3.4",
        "/a//b",
        "/a/../b",
        "/a/./b",
        "/a/.b",
        "/a/b/",
        "/%7Ea%2f",
        "/a b?c=d#e",
        "/\u00fc",
    ],
)
def test_a_request_goes_to_the_address_that_requests_makes_of_a_url(server: str, path: str) -> None:
    request = requests.Request("GET", server + path).prepare()
    assert prepare_request("GET", server + path, {}, None).url == request.url


@pytest.mark.parametrize(
    "url", ["", "llm.example/jobs", "http://", "http://a:99999/jobs", "http://*.a/b", "http://-.a:x/b"]
)
def test_what_is_no_address_is_refused_each_time(url: str) -> None:
    for _ in range(2):
        with pytest.raises(LlmRefused):
            prepare_request("GET", url, {}, None)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://llm.example/a", "Host: llm.example"),
        ("http://llm.example:80/a", "Host: llm.example"),
        ("https://llm.example:443/a", "Host: llm.example"),
        ("https://llm.example:80/a", "Host: llm.example:80"),
        ("http://[::1]:8080/a", "Host: [::1]:8080"),
        ("http://name:word@llm.example/a", "Host: llm.example"),
    ],
)
def test_a_request_names_its_host_without_a_port_that_goes_without_saying(url: str, line: str) -> None:
    address = urlsplit(url)
    assert host_line((address.scheme, address.hostname or "", address.port)) == line


def test_a_redirect_is_an_answer_and_not_followed(transport: Transport) -> None:
    with serving(says(b"", "Location: http://127.0.0.1:1/", status=307)) as server:
        assert fetch(transport, server.url) == (307, b"")


def test_an_answer_may_be_compressed_although_nobody_asked_for_it(transport: Transport) -> None:
    answer = says(gzip.compress(b"abc" * 50_000), "Content-Encoding: gzip")
    with serving(answer, answer) as server:
        assert [fetch(transport, server.url)[1] for _ in range(2)] == [b"abc" * 50_000] * 2


@pytest.mark.parametrize(
    "answer",
    [
        says(b"abc", size=10, stays=False),
        says(b"3\r\nabc\r\n", "Transfer-Encoding: chunked", stays=False),
        says(b"3\r\nabc\r\nrubbish", "Transfer-Encoding: chunked", stays=False),
        says(b"", *["X-Many: headers"] * 200),
        says(b"", "Content-Length: many"),
        says(b"", f"X-Long: {'x' * 200_000}"),
        says(b"3;" + b"x" * 200_000 + b"\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        says(b"3\r\nabc\r\n0\r\n", "Transfer-Encoding: chunked", stays=False),
        says(b"", status=0),
        lambda connection: bool(connection.sendall(b"rubbish\r\n\r\n")),
        lambda connection: False,
    ],
)
def test_an_answer_that_breaks_off_is_a_lost_connection_that_reached_the_server(
    transport: Transport, answer: Answer
) -> None:
    with serving(answer) as server:
        with pytest.raises(requests.ConnectionError) as caught:
            fetch(transport, server.url)
        assert not isinstance(caught.value, NotConnected)


def test_a_silent_server_is_a_timeout(transport: Transport) -> None:
    with serving(lambda connection: True) as server, pytest.raises(requests.ReadTimeout):
        fetch(transport, server.url, seconds=0.2)


def test_a_server_that_nobody_can_reach_got_nothing(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host in ("127.0.0.1", "nothing.invalid", f"{'a' * 70}.invalid"):
        with pytest.raises(NotConnected):
            fetch(transport, f"http://{host}:{port}/")


def test_a_certificate_of_an_unknown_authority_gets_no_request(transport: Transport, tmp_path: Path) -> None:
    with serving(says(b"secret"), tls=self_signed(tmp_path)) as server:
        with pytest.raises(NotConnected):
            fetch(transport, server.url)
        assert server.paths == []


def test_a_closed_transport_keeps_no_connection() -> None:
    transport = Transport()
    with serving(says(b"one")) as server:
        response = transport.send(prepare_request("GET", server.url, {}, None), timeout=(5, 5))
        transport.close()
        assert response.raw.read1(10) == b"one"
        response.close()
        assert server.idle.wait(5)


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = folder / "server.pem"
    file.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, private, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
