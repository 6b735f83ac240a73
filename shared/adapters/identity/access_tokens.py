"""The service's own access tokens, for the identity services that want one."""

import asyncio
from functools import partial
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from shared import log
from shared.errors import IdentityUnavailable

SCOPES = ("https://www.googleapis.com/auth/identitytoolkit",)
REQUEST_SECONDS = 3.0
CALL_SECONDS = 6.0
_TROUBLE = (GoogleAuthError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""The library reads what it gets without looking: an answer that is no JSON object ends in an AttributeError."""


class AccessTokens:
    """Of Application Default Credentials, looked up on first use and refreshed when they are about to expire."""

    def __init__(self) -> None:
        self._credentials: Any = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> str:
        """Raises IdentityUnavailable."""
        if self._credentials is not None and self._credentials.valid:
            return str(self._credentials.token)
        try:
            async with asyncio.timeout(CALL_SECONDS), self._lock:
                return await asyncio.to_thread(self._fresh)
        except _TROUBLE as error:
            log.error("no access token", exception=type(error).__name__)
            raise IdentityUnavailable from error

    def _fresh(self) -> str:
        request: Any = partial(Request(), timeout=REQUEST_SECONDS)
        if self._credentials is None:
            self._credentials, _ = google.auth.default(scopes=SCOPES, request=request)
        if not self._credentials.valid:
            self._credentials.refresh(request)
        return str(self._credentials.token)
