"""Resolves the host of a webhook once, and lets no address pass that is not public.

The connection then goes to the addresses that were checked, so a name that resolves differently a moment later
(DNS rebinding) changes nothing.
"""

import socket
from collections.abc import Callable, Sequence

from shared.domain.webhook_address import WebhookAddress, is_public

Resolve = Callable[[str, int], Sequence[str]]
"""A function of (host, port) that returns all addresses of the host. Raises OSError."""


class AddressRefused(Exception):
    """The host has an address that is not public."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Returns the addresses that the system's resolver knows, IPv4 first: Cloud Run has no route to others.

    Raises OSError when there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ordered = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    return list(dict.fromkeys(str(entry[4][0]) for entry in ordered))


def checked_addresses(address: WebhookAddress, resolver: Resolve) -> Sequence[str]:
    """Returns where the connection may go. Raises AddressRefused when one of the addresses is not public, and OSError.

    An allowed host of a local system may have any address.
    """
    found = resolver(address.host, address.port)
    if not found:
        raise OSError("no address")
    if not address.is_allowed and not all(_is_public(one) for one in found):
        raise AddressRefused
    return found


def _is_public(address: str) -> bool:
    try:
        return is_public(address)
    except ValueError:
        return False
