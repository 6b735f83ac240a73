"""The service's own access tokens, for the identity services that want one."""

from functools import partial
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from shared import log
from shared.adapters.identity.http import IdentityHttp
from shared.adapters.identity.single_flight import SingleFlight
from shared.errors import IdentityUnavailable

SCOPES = ("https://www.googleapis.com/auth/identitytoolkit",)
REQUEST_SECONDS = 3.0
CALL_SECONDS = 6.0
_TROUBLE = (GoogleAuthError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""The library reads what it gets without looking: an answer that is no JSON object ends in an AttributeError."""


class AccessTokens:
    """Of Application Default Credentials, looked up on first use and refreshed when they are about to expire."""

    def __init__(self, http: IdentityHttp) -> None:
        """`http` lends its threads: Google's library blocks."""
        self._http = http
        self._credentials: Any = None
        self._refreshes: SingleFlight[str] = SingleFlight()

    async def __call__(self) -> str:
        """Raises IdentityUnavailable."""
        if self._credentials is not None and self._credentials.valid:
            return str(self._credentials.token)
        return await self._refreshes(SCOPES, self._refreshed)

    async def _refreshed(self) -> str:
        try:
            return await self._http.in_thread(self._fresh, seconds=CALL_SECONDS)
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
