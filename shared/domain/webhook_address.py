"""Decides which URLs webhooks may have and which addresses they may reach: https to public addresses only.

A host that is written as a number, such as 2130706433, 0x7f.1 or 0177.0.0.1, is refused unless it is an address in its
usual form: resolvers disagree about the others. The rule for such hosts is https://url.spec.whatwg.org/#ends-in-a-number-checker.
"""

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from msgspec import Struct

from shared.errors import InvalidRequest

MAX_URL_LENGTH = 2000
HTTPS_PORT = 443
FIRST_FREE_PORT = 1024
"""Ports below belong to other protocols, such as mail."""
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)+\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "localdomain")
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""NAT64 (RFC 6052, RFC 8215): the last four bytes are an IPv4 address, which a gateway reaches."""


class WebhookAddress(Struct, frozen=True, kw_only=True):
    """The parts of a webhook's URL. `target` is the path with its query."""

    host: str
    port: int
    target: str
    is_https: bool
    is_allowed: bool
    """True when WEBHOOK_ALLOWED_HOSTS lists the host and port; the address may then be private."""

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (HTTPS_PORT if self.is_https else 80) else f"{host}:{self.port}"


def read_address(url: str, *, allowed_hosts: Collection[str] = (), field: str = "url") -> WebhookAddress:
    """Reads a webhook's URL. Raises InvalidRequest, which names `field`, for one that no webhook may have.

    `allowed_hosts` are "host:port" of a local system; those may be private and without https.
    """
    if len(url) > MAX_URL_LENGTH or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise InvalidRequest(f"{field} must be an URL of at most {MAX_URL_LENGTH} ASCII characters", field=field)
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InvalidRequest(f"{field} is not a valid URL", field=field) from None
    is_https = parts.scheme == "https"
    port = (HTTPS_PORT if is_https else 80) if port is None else port
    is_allowed = f"{host}:{port}" in allowed_hosts
    if "@" in parts.netloc:
        raise InvalidRequest(f"{field} must not hold a user name or a password", field=field)
    if not is_https and not (is_allowed and parts.scheme == "http"):
        raise InvalidRequest(f"{field} must begin with https://", field=field)
    if not is_allowed:
        _require_public_host(host, field)
        if port != HTTPS_PORT and port < FIRST_FREE_PORT:
            raise InvalidRequest(f"{field} must have port 443, or one from {FIRST_FREE_PORT} on", field=field)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebhookAddress(host=host, port=port, target=target, is_https=is_https, is_allowed=is_allowed)


def _require_public_host(host: str, field: str) -> None:
    """Raises InvalidRequest for an address that is not public, and for a name that can only be a local one."""
    refusal = InvalidRequest(f"{field} must lead to a public host", field=field)
    try:
        if not is_public(host):
            raise refusal
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2]
        is_local = any(f".{host.rstrip('.')}".endswith(f".{name}") for name in _LOCAL_NAMES)
        if not _NAME.fullmatch(host) or _NUMBER.fullmatch(last) or is_local:
            raise refusal from None


def is_public(address: str) -> bool:
    """Returns whether everybody on the internet reaches the same machine at this address.

    Raises ValueError when it is no address in its usual form. An IPv6 address that carries an IPv4 address (mapped,
    NAT64, 6to4, Teredo, compatible) is never public: it would reach a place that the check does not see.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        return not _carries_ipv4(found) and found.scope_id is None and _is_global(found)
    return _is_global(found)


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    return address.is_global and not is_special and not address.is_private and not address.is_link_local


def _carries_ipv4(address: IPv6Address) -> bool:
    is_compatible = int(address) < 2**32
    is_wrapped = address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None
    return is_compatible or is_wrapped or any(address in network for network in _TRANSLATED)
