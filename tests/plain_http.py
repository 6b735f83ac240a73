"""What httpx needs not read for the servers of tests, which all speak plain HTTP."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context that trusts nobody. Without it httpx reads the certificates of all authorities for each client: 30 ms."""
