"""One connection to an LLM's server, and the reader of its responses: HTTP/1.1 with httptools, the parser of uvicorn.

https://www.rfc-editor.org/rfc/rfc9112 says where a response ends, and when its connection can be used again.
"""

import socket
from collections import deque
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from math import ceil

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from requests import ConnectionError as LostConnection
from urllib3.util.wait import wait_for_read

RECEIVE_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_OVERHEAD_BYTES = 64 * 1024
"""How much may come without a byte of the body: headers, and what a server may write between the parts of a body."""
_INFORMATIONAL = range(100, 200)


class Connection:
    """A connected socket. `opened` is what has opened it."""

    def __init__(self, opened: HTTPConnection) -> None:
        self._opened = opened
        self._seconds: float | None = None
        self.channel: socket.socket = opened.sock

    def is_usable(self) -> bool:
        """Returns False when the server has closed the connection, or has sent what nobody has asked for."""
        return not wait_for_read(self.channel, timeout=0)

    def send(self, parts: Sequence[bytes], *, seconds: float) -> None:
        """Sends a request. The sending of each part, and later each read, may take `seconds`, rounded up to tenths.

        Most calls of a server have the same time then, and the socket is not told again: each time costs a thread its
        turn. Raises OSError.
        """
        rounded = ceil(10 * seconds) / 10
        if rounded != self._seconds:
            self.channel.settimeout(rounded)
            self._seconds = rounded
        for part in parts:
            self.channel.sendall(part)

    def close(self) -> None:
        self._opened.close()


class ResponseReader:
    """Reads one response. The methods `on_…` are called by httptools."""

    def __init__(self, channel: socket.socket) -> None:
        self._receive_from: Callable[[int], bytes] = channel.recv
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # what http.client takes too; nobody else's responses are on the channel
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.is_complete = False
        self.leaves_connection_usable = False
        """Was the response read to its end, and may another request follow it?"""
        self._has_head = False
        self._parts: deque[bytes] = deque()
        self._overhead = 0

    def read_head(self) -> None:
        """Reads until status and headers are there. Raises OSError, such as TimeoutError or LostConnection."""
        while not self._has_head:
            self._receive()

    def read1(self, amount: int = RECEIVE_BYTES) -> bytes:
        """Returns the next part of the body, of RECEIVE_BYTES at most, or nothing at its end.

        `amount` is without effect. Raises OSError, such as TimeoutError, or LostConnection when the body ends early.
        """
        while not self._parts and not self.is_complete:
            self._receive()
        return self._parts.popleft() if self._parts else b""

    read = read1
    """urllib3 decodes the body of an object with such a method."""

    def close(self) -> None:
        """Does nothing: urllib3 closes what it has decoded to the end."""

    def _receive(self) -> None:
        received = self._receive_from(RECEIVE_BYTES)
        if not received:
            self._end_with_connection()
            return
        self._overhead += len(received)
        try:
            self._parser.feed_data(received)
        except HttpParserUpgrade:  # nobody has asked for another protocol, and so the response has no body
            self.is_complete, self.leaves_connection_usable = True, False
        except HttpParserError as error:
            if not self.is_complete:
                raise LostConnection("The server did not answer with HTTP.") from error
            self.leaves_connection_usable = False  # there was more than the response
        if self._overhead > MAX_OVERHEAD_BYTES or len(self.headers) > MAX_HEADERS:
            raise LostConnection("The server answered with more headers than we take.")

    def _end_with_connection(self) -> None:
        """Completes a response that ends where its connection ends. Raises LostConnection for every other."""
        headers = {name.lower(): value.lower() for name, value in self.headers}
        has_end = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")
        if has_end or not self._has_head:
            raise LostConnection("The connection was lost.")
        self.is_complete = True

    def on_message_begin(self) -> None:
        """Stops the parser, by an exception that it turns into an HttpParserError, when there is a second response."""
        if self.is_complete:
            raise LostConnection("There are two responses to one request.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = self.status not in _INFORMATIONAL or self._parser.should_upgrade()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._overhead = 0

    def on_message_complete(self) -> None:
        if self._has_head:
            self.is_complete, self.leaves_connection_usable = True, self._parser.should_keep_alive()
        else:  # "100 Continue" and the like come before the response
            self.headers.clear()
