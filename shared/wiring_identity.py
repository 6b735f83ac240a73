"""The part of wiring.py that knows callers: whose tokens count under these settings, and what is remembered of them."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from shared.adapters.identity.cache import CachedTokens
from shared.ports import Clock, EndedSessions, TokenVerifier
from shared.settings import Settings
from shared.usecases.sessions import OpenSessions, Sessions

if TYPE_CHECKING:
    from shared.adapters.identity.access_tokens import AccessTokens
    from shared.adapters.identity.doors import Addresses, Lines, Trust

THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    tokens: TokenVerifier
    sessions: Sessions
    invoker: TokenVerifier | None
    """Who may call the internal functions; None where anybody may."""
    lines: "Lines"
    """To close in the end."""


def assemble_callers(
    settings: Settings, ended: EndedSessions, clock: Clock, *, addresses: "Addresses | None" = None
) -> Callers:
    """Nothing is asked of anybody until the first token comes. What was good a minute ago is good."""
    from shared.adapters.identity.doors import Addresses, Lines, open_doors
    from shared.adapters.identity.http import IdentityHttp

    lines = Lines(
        keys=IdentityHttp(threads=THREADS, name="identity-keys"),
        accounts=IdentityHttp(threads=THREADS, name="identity-accounts"),
    )

    @cache
    def access_tokens() -> "AccessTokens":
        """Google's library takes a tenth of a second to import, and most callers show no session."""
        from shared.adapters.identity.access_tokens import AccessTokens

        return AccessTokens(lines.accounts)

    async def access_token() -> str:
        return await access_tokens()()

    doors = open_doors(
        trust(settings), clock, addresses=addresses or Addresses(), lines=lines, access_token=access_token
    )
    tokens = CachedTokens(doors.tokens, clock)
    verifier = CachedTokens(OpenSessions(issuer=doors.sessions, ended=ended), clock)
    return Callers(
        tokens=tokens,
        sessions=Sessions(tokens=tokens, issuer=doors.sessions, ended=ended, verifier=verifier, clock=clock),
        invoker=CachedTokens(doors.invoker, clock) if doors.invoker else None,
        lines=lines,
    )


def trust(settings: Settings) -> "Trust":
    """The embedded mode's tokens count on this machine only, and there nobody else's unless it was asked for."""
    from shared.adapters.identity.doors import Trust

    local = settings.is_local
    return Trust(
        embedded_in=settings.data_dir if local else None,
        firebase_project=settings.firebase_project or (None if local else settings.project),
        oidc_audiences=settings.oidc_audiences,
        oidc_emails=settings.oidc_emails,
        invoker_email=None if local else settings.invoker_service_account or "",
        invoker_audience=settings.internal_audience or settings.recheck_url,
    )
