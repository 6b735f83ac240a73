"""Supplies the access tokens with which the service calls Google's APIs: the Identity Toolkit and Vertex AI."""

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
CLOUD_PLATFORM = ("https://www.googleapis.com/auth/cloud-platform",)
REQUEST_SECONDS = 3.0
CALL_SECONDS = 6.0
LIBRARY_ERRORS = (GoogleAuthError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""google-auth does not check what it receives: a response that is not a JSON object ends in an AttributeError."""


class AccessTokens:
    """Uses Application Default Credentials; loads them on first use and refreshes them shortly before they expire."""

    def __init__(self, http: IdentityHttp, *, scopes: tuple[str, ...] = SCOPES) -> None:
        """`http` supplies the threads, because google-auth blocks."""
        self._http = http
        self._scopes = scopes
        self._credentials: Any = None
        self._refreshes: SingleFlight[str] = SingleFlight()

    async def __call__(self) -> str:
        """Returns a valid token. Raises IdentityUnavailable when there are no credentials or no token arrives."""
        if self._credentials is not None and self._credentials.valid:
            return str(self._credentials.token)
        return await self._refreshes(self._scopes, self._refresh)

    async def _refresh(self) -> str:
        try:
            return await self._http.run_in_thread(self._fetch_token, timeout_seconds=CALL_SECONDS)
        except LIBRARY_ERRORS as error:
            log.error("no access token", exception=type(error).__name__)
            raise IdentityUnavailable from error

    def _fetch_token(self) -> str:
        request: Any = partial(Request(), timeout=REQUEST_SECONDS)
        if self._credentials is None:
            self._credentials, _ = google.auth.default(scopes=self._scopes, request=request)
        if not self._credentials.valid:
            self._credentials.refresh(request)
        return str(self._credentials.token)
