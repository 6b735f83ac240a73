"""Session cookies that Firebase makes and signs, and that count as long as their owner's account does.

https://cloud.google.com/identity-platform/docs/reference/rest/v1/projects/createSessionCookie
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from shared import log
from shared.adapters.identity.firebase import FirebaseTokens
from shared.adapters.identity.http import Answer, IdentityHttp
from shared.errors import IdentityUnavailable, Unauthenticated
from shared.ports import Identity


class FirebaseSessions:
    def __init__(
        self,
        *,
        project: str,
        cookies: FirebaseTokens,
        access_token: Callable[[], Awaitable[str]],
        http: IdentityHttp,
        url: str,
    ) -> None:
        """`url` is the address of the Identity Toolkit API; `cookies` checks signature and claims."""
        self._project = f"{url}/projects/{project}"
        self._cookies = cookies
        self._access_token = access_token
        self._http = http

    async def start(self, id_token: str, identity: Identity, *, lasting: timedelta) -> str:
        body = {"idToken": id_token, "validDuration": str(int(lasting.total_seconds()))}
        answer = await self._ask(":createSessionCookie", body)
        cookie = answer.body.get("sessionCookie") if isinstance(answer.body, dict) else None
        if answer.status == 400:
            raise Unauthenticated
        if answer.status != 200 or not isinstance(cookie, str):
            raise _trouble(answer)
        return cookie

    async def verify(self, token: str) -> Identity:
        """Asks about the account each time: whoever calls this often keeps the answer for a while."""
        identity = await self._cookies.verify(token)
        answer = await self._ask("/accounts:lookup", {"localId": [identity.user_id]})
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise _trouble(answer)
        accounts = answer.body.get("users")
        if not isinstance(accounts, list) or not any(_still_good(account, identity) for account in accounts):
            raise Unauthenticated
        return identity

    async def _ask(self, method: str, body: dict[str, Any]) -> Answer:
        headers = {"Authorization": f"Bearer {await self._access_token()}"}
        return await self._http.call("POST", self._project + method, headers=headers, body=body)


def _still_good(account: Any, identity: Identity) -> bool:
    """`validSince`, in seconds, moves forward when the user's sessions are revoked or the password changes."""
    if not isinstance(account, dict) or account.get("localId") != identity.user_id or account.get("disabled"):
        return False
    valid_since = str(account.get("validSince", "0"))
    signed_in_at = identity.signed_in_at.timestamp() if identity.signed_in_at else 0.0
    return valid_since.isascii() and valid_since.isdigit() and signed_in_at >= int(valid_since)


def _trouble(answer: Answer) -> IdentityUnavailable:
    log.error("identity service refused", status=answer.status)
    return IdentityUnavailable()
