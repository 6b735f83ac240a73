"""Sends requests to LLMs: a transport adapter of `requests`.

A call takes a fifth of the CPU time of one through requests' own adapter, whose look-ups of proxies, pools, retries
and redirects an LLM call has no use for. A request leaves in one piece, so that its server wakes up once for it.
"""

import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http.client import HTTPConnection, HTTPSConnection
from typing import IO, Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.exceptions import InvalidHeader
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.response import HTTPResponse as DecodingResponse

from shared.adapters.llm.connection import Connection, ResponseReader

PLAIN = frozenset({"", "identity"})
"""Values of Content-Encoding of a body that is sent as it is."""
SMALL_BODY_BYTES = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}

Server = tuple[str, str, int | None]
"""The scheme, host and port."""


class NotConnected(requests.ConnectionError):
    """No connection was made, so the server has not got the request."""


class Transport(BaseAdapter):
    """Keeps connections open between calls, for use by several threads. It follows no redirects and uses no proxies."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: defaultdict[Server, list[Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = True,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Returns a response whose body is still to be read, through `raw.read1`; it must be closed.

        `timeout` is the pair of seconds for the connection and for each read (see Connection.send). Raises
        NotConnected, ConnectTimeout, ReadTimeout or ConnectionError. Certificates are always verified; the other
        arguments are without effect.
        """
        connect_seconds, read_seconds = timeout
        url = urlsplit(request.url or "")
        server = (str(url.scheme), url.hostname or "", url.port)
        parts = _written(request, server)
        connection = self._connection(server, connect_seconds)
        reader = ResponseReader(connection.channel)
        try:
            connection.send(parts, seconds=read_seconds)
            reader.read_head()
        except TimeoutError as error:
            connection.close()
            raise requests.ReadTimeout("The server did not answer in time.", request=request) from error
        except OSError as error:
            connection.close()
            raise requests.ConnectionError("The connection was lost.", request=request) from error
        return _response(request, reader, Body(self, server, connection, reader))

    def _connection(self, server: Server, seconds: float) -> Connection:
        """Returns an idle connection that the server has not closed, or a new one."""
        while (idle := self._take(server)) is not None:
            if idle.is_usable():
                return idle
            idle.close()
        connection = self._new_connection(server, seconds)
        try:
            connection.connect()
        except TimeoutError as error:
            connection.close()
            raise requests.ConnectTimeout("The server could not be reached in time.") from error
        except (OSError, UnicodeError) as error:
            connection.close()
            raise NotConnected("The server could not be reached.") from error
        return Connection(connection)

    def _take(self, server: Server) -> Connection | None:
        try:
            return self._idle[server].pop()
        except IndexError:
            return None

    def _new_connection(self, server: Server, seconds: float) -> HTTPConnection:
        scheme, host, port = server
        if scheme != "https":
            return HTTPConnection(host, port, timeout=seconds)
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
        return HTTPSConnection(host, port, timeout=seconds, context=self._tls)

    def put_back(self, server: Server, connection: Connection) -> None:
        """Keeps a connection whose response was read to its end."""
        if self._is_closed:
            connection.close()
        else:
            self._idle[server].append(connection)

    def close(self) -> None:
        """Closes the idle connections now, and each other one after its call."""
        self._is_closed = True
        for server in list(self._idle):
            while (connection := self._take(server)) is not None:
                connection.close()


class Body:
    """The body of a response, as `requests.Response.raw`: a part of what urllib3's response offers."""

    def __init__(self, transport: Transport, server: Server, connection: Connection, reader: ResponseReader) -> None:
        self._transport = transport
        self._server = server
        self._connection = connection
        self._reader = reader
        self._decoding: DecodingResponse | None = None
        self._is_open = True
        self._while_open = threading.Lock()
        """Is held while the connection is shut down or given away: the next call to get it must not lose its answer."""

    def decode(self, headers: Mapping[str, str]) -> None:
        """Makes `read1` return the body without the encoding that the headers name."""
        self._decoding = DecodingResponse(cast(IO[bytes], self._reader), headers=headers, preload_content=False)

    def read1(self, amount: int, *, decode_content: bool = True) -> bytes:
        """Returns at least one byte and at most about `amount`, or nothing at the end of the body.

        Raises TimeoutError or urllib3's ReadTimeoutError when nothing comes, and requests.ConnectionError or urllib3's
        ProtocolError when the body ends too early.
        """
        if self._decoding is not None:
            return self._decoding.read1(amount, decode_content=decode_content)
        return self._reader.read1(amount)

    def shutdown(self) -> None:
        """Ends a read that is under way in another thread; does nothing once the body is closed."""
        with self._while_open:
            if self._is_open:
                self._reader.leaves_connection_usable = False
                self._connection.channel.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Gives the connection back when the body was read to its end, and closes it otherwise; once only."""
        with self._while_open:
            was_open, self._is_open = self._is_open, False
        if was_open and self._reader.leaves_connection_usable:
            self._transport.put_back(self._server, self._connection)
        elif was_open:
            self._connection.close()


def _written(request: requests.PreparedRequest, server: Server) -> Sequence[bytes]:
    """Returns the request as HTTP/1.1; a large body is a part of its own, so that it is not copied.

    Raises InvalidHeader when a header would begin another line.
    """
    lines = [f"{request.method} {request.path_url} HTTP/1.1", host_line(server), "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    text = "\r\n".join(lines)
    if text.count("\r") + text.count("\n") != 2 * len(lines) - 2:
        raise InvalidHeader("A header has a line break.", request=request)
    head = f"{text}\r\n\r\n".encode("latin-1")
    body = request.body.encode() if isinstance(request.body, str) else request.body or b""
    return [head + body] if len(body) <= SMALL_BODY_BYTES else [head, body]


@lru_cache
def host_line(server: Server) -> str:
    """Returns the header that names the server; a scheme's own port goes without saying."""
    scheme, host, port = server
    name = f"[{host}]" if ":" in host else host
    return f"Host: {name}" if port in (None, DEFAULT_PORTS[scheme]) else f"Host: {name}:{port}"


def _response(request: requests.PreparedRequest, reader: ResponseReader, body: Body) -> requests.Response:
    response = requests.Response()
    response.status_code = reader.status
    response.headers = CaseInsensitiveDict(reader.headers)
    response.request = request
    response.raw = body
    if response.headers.get("Content-Encoding", "").strip().lower() not in PLAIN:
        body.decode(response.headers)
    return response
