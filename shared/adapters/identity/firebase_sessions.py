"""Creates and verifies Firebase's session cookies through the Identity Toolkit API.

https://cloud.google.com/identity-platform/docs/reference/rest/v1/projects/createSessionCookie
https://cloud.google.com/identity-platform/docs/reference/rest/v1/projects.accounts/lookup
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from shared import log
from shared.adapters.identity.firebase import FirebaseTokens
from shared.adapters.identity.http import IdentityHttp, JsonResponse
from shared.errors import IdentityUnavailable, Unauthenticated
from shared.ports import Identity


class FirebaseSessions:
    """Implements SessionIssuer."""

    def __init__(
        self,
        *,
        project: str,
        cookies: FirebaseTokens,
        access_token: Callable[[], Awaitable[str]],
        http: IdentityHttp,
        url: str,
    ) -> None:
        """`url` is the address of the Identity Toolkit API; `cookies` checks a cookie's signature and claims."""
        self._project_url = f"{url}/projects/{project}"
        self._cookies = cookies
        self._access_token = access_token
        self._http = http

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        """Returns the cookie. Raises Unauthenticated when Firebase refuses `id_token`, else IdentityUnavailable."""
        body = {"idToken": id_token, "validDuration": str(int(lasting.total_seconds()))}
        response = await self._call(":createSessionCookie", body)
        cookie = response.body.get("sessionCookie") if isinstance(response.body, dict) else None
        if response.status == 400:
            raise Unauthenticated
        if response.status != 200 or not isinstance(cookie, str):
            raise _unexpected(response)
        return cookie

    async def verify(self, token: str) -> Identity:
        """Looks the account up each time; CachedTokens bounds how often.

        Raises Unauthenticated when the account is deleted or disabled, or its tokens are revoked.
        """
        identity = await self._cookies.verify(token)
        response = await self._call("/accounts:lookup", {"localId": [identity.user_id]})
        if response.status != 200 or not isinstance(response.body, dict):
            raise _unexpected(response)
        accounts = response.body.get("users")
        if not isinstance(accounts, list) or not any(_is_valid_for(account, identity) for account in accounts):
            raise Unauthenticated
        return identity

    async def _call(self, method: str, body: dict[str, Any]) -> JsonResponse:
        """`method` follows the project in the URL. Raises IdentityUnavailable when no response arrives."""
        headers = {"Authorization": f"Bearer {await self._access_token()}"}
        return await self._http.request("POST", self._project_url + method, headers=headers, body=body)


def _is_valid_for(account: Any, identity: Identity) -> bool:
    """Tells whether `account`, a UserInfo object of the API, still accepts the sign-in of `identity`.

    `validSince`, in seconds since 1970, moves forward when tokens are revoked or the password changes.
    """
    if not isinstance(account, dict) or account.get("localId") != identity.user_id or account.get("disabled"):
        return False
    valid_since = str(account.get("validSince", "0"))
    signed_in_at = identity.signed_in_at.timestamp() if identity.signed_in_at else 0.0
    return valid_since.isascii() and valid_since.isdigit() and signed_in_at >= int(valid_since)


def _unexpected(response: JsonResponse) -> IdentityUnavailable:
    log.error("identity service refused", status=response.status)
    return IdentityUnavailable()
