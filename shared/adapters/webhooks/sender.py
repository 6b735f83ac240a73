"""Posts deliveries of webhooks with urllib3, in threads of its own: to the checked address, once, within bounds.

There are no redirects, no proxies and no connections that are kept. Of the answer only the status line and the headers
are read; nothing but the code is kept. A timer closes the connection when the time of the whole exchange is over,
since a socket's timeout bounds each read only and a receiver may send byte by byte.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3Timeout
from urllib3.util import Timeout

from shared import tracing
from shared.adapters.webhooks.addresses import AddressRefused, Resolve, checked_addresses, resolve
from shared.domain.webhook_address import WebhookAddress, read_address
from shared.domain.webhook_delivery import Answer, DeliveryError
from shared.errors import InvalidRequest
from shared.tracing import SpanKind

TRY_SECONDS = 15.0
"""The whole try, from the look-up of the host on."""
CONNECT_SECONDS = 5.0
GRACE_SECONDS = 0.5
"""How much longer than its thread a try waits: the system's resolver obeys no limit of ours."""
THREADS = 64
GONE = 410


class HttpWebhookSender:
    """Holds threads of its own, made on first use, after the server has forked."""

    def __init__(
        self,
        *,
        allowed_hosts: Collection[str] = (),
        resolver: Resolve = resolve,
        seconds: float = TRY_SECONDS,
        ca_file: str | None = None,
    ) -> None:
        """`ca_file` has the certificates that are trusted; None for those that `requests` trusts."""
        self._allowed_hosts = allowed_hosts
        self._resolver = resolver
        self._seconds = seconds
        self._ca_file = ca_file or DEFAULT_CA_BUNDLE_PATH
        self._pool: ThreadPoolExecutor | None = None

    async def send(self, url: str, *, headers: Mapping[str, str], body: str) -> Answer:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks")
        started = time.monotonic()
        with tracing.span("webhook POST", SpanKind.CLIENT):
            exchange = asyncio.get_running_loop().run_in_executor(
                self._pool, self._exchange, url, {**headers}, body.encode(), started + self._seconds
            )
            try:
                async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                    code, error = await exchange
            except TimeoutError:
                code, error = None, DeliveryError.TIMEOUT
        return Answer(code=code, error=error, duration=timedelta(seconds=time.monotonic() - started))

    def close(self) -> None:
        """Ends the threads; tries that are under way end there, without a reader."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _exchange(
        self, url: str, headers: dict[str, str], body: bytes, deadline: float
    ) -> tuple[int | None, DeliveryError | None]:
        """Returns (the code, None or why the try failed)."""
        try:
            address = read_address(url, allowed_hosts=self._allowed_hosts)
            found = checked_addresses(address, self._resolver)
        except (InvalidRequest, AddressRefused):
            return None, DeliveryError.ADDRESS_REFUSED
        except (OSError, UnicodeError):
            return None, DeliveryError.NOT_RESOLVED
        error = DeliveryError.CONNECTION
        for one in found:
            try:
                return _judged(self._post(one, address, headers, body, deadline))
            except (NewConnectionError, ConnectionRefusedError):
                continue  # nothing was sent, so the next address may get it
            except SSLError:
                error = DeliveryError.TLS
            except (Urllib3Timeout, TimeoutError):
                error = DeliveryError.TIMEOUT
            except (HTTPError, OSError, ValueError):
                pass
            break
        return None, DeliveryError.TIMEOUT if time.monotonic() >= deadline else error

    def _post(
        self, connect_to: str, address: WebhookAddress, headers: dict[str, str], body: bytes, deadline: float
    ) -> int:
        """Returns the code of the answer, whose body is not read."""
        remaining = max(deadline - time.monotonic(), 0.001)
        timeout = Timeout(connect=min(CONNECT_SECONDS, remaining), read=remaining)
        with self._connections(connect_to, address, timeout) as pool, _closed_at(deadline, pool):
            response = pool.urlopen(
                "POST",
                address.target,
                body=body,
                headers={
                    **headers,
                    "Host": address.host_header,
                    "Content-Type": "application/json",
                    "User-Agent": "llm-runs-webhooks/1",
                    "Connection": "close",
                },
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            response.close()
            return int(response.status)

    def _connections(self, connect_to: str, address: WebhookAddress, timeout: Timeout) -> HTTPConnectionPool:
        """Returns connections to this address that speak to the host: its name is what the certificate must have."""
        if not address.is_https:
            return HTTPConnectionPool(connect_to, address.port, timeout=timeout, maxsize=1)
        return HTTPSConnectionPool(
            connect_to,
            address.port,
            timeout=timeout,
            maxsize=1,
            cert_reqs="CERT_REQUIRED",
            ca_certs=self._ca_file,
            server_hostname=address.host,
            assert_hostname=address.host,
            ssl_minimum_version=ssl.TLSVersion.TLSv1_2,
        )


def _judged(code: int) -> tuple[int, DeliveryError | None]:
    if 200 <= code < 300:
        return code, None
    return code, DeliveryError.GONE if code == GONE else DeliveryError.STATUS


@contextmanager
def _closed_at(deadline: float, pool: HTTPConnectionPool) -> Iterator[None]:
    """Shuts the pool's connection down when the time is over, which ends a read in another thread.

    It keeps a duplicate of the socket, since the socket itself is detached when TLS begins on its connection.
    """
    made: list[socket.socket] = []

    class Connection(pool.ConnectionCls):  # type: ignore[name-defined, misc]
        def _new_conn(self) -> socket.socket:
            connected: socket.socket = super()._new_conn()
            made.append(connected.dup())
            return connected

    def shut_down() -> None:
        for connected in made:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    pool.ConnectionCls = Connection
    timer = threading.Timer(max(deadline - time.monotonic(), 0), shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for connected in made:
            connected.close()
