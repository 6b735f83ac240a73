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
    from shared.adapters.identity.verifiers import Endpoints, HttpPools, TrustedIssuers

THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    tokens: TokenVerifier
    sessions: Sessions
    invoker: TokenVerifier | None
    """Who may call the internal functions; None where anybody may."""
    pools: "HttpPools"
    """To close in the end."""


def assemble_authentication(
    settings: Settings, ended: EndedSessions, clock: Clock, *, endpoints: "Endpoints | None" = None
) -> Authentication:
    """Nothing is asked of anybody until the first token comes. What was good a minute ago is good."""
    from shared.adapters.identity.http import IdentityHttp
    from shared.adapters.identity.verifiers import Endpoints, HttpPools, build_verifiers

    pools = HttpPools(
        keys=IdentityHttp(threads=THREADS, name="identity-keys"),
        accounts=IdentityHttp(threads=THREADS, name="identity-accounts"),
    )

    @cache
    def access_tokens() -> "AccessTokens":
        """Google's library takes a tenth of a second to import, and most callers show no session."""
        from shared.adapters.identity.access_tokens import AccessTokens

        return AccessTokens(pools.accounts)

    async def access_token() -> str:
        return await access_tokens()()

    verifiers = build_verifiers(
        trusted_issuers(settings), clock, endpoints=endpoints or Endpoints(), pools=pools, access_token=access_token
    )
    tokens = CachedTokens(verifiers.tokens, clock)
    verifier = CachedTokens(OpenSessions(issuer=verifiers.sessions, ended=ended), clock)
    return Authentication(
        tokens=tokens,
        sessions=Sessions(tokens=tokens, issuer=verifiers.sessions, ended=ended, verifier=verifier, clock=clock),
        invoker=CachedTokens(verifiers.invoker, clock) if verifiers.invoker else None,
        pools=pools,
    )


def trusted_issuers(settings: Settings) -> "TrustedIssuers":
    """The embedded mode's tokens count on this machine only, and there nobody else's unless it was asked for."""
    from shared.adapters.identity.verifiers import TrustedIssuers

    local = settings.is_local
    return TrustedIssuers(
        embedded_in=settings.data_dir if local else None,
        firebase_project=settings.firebase_project or (None if local else settings.project),
        oidc_audiences=settings.oidc_audiences,
        oidc_emails=settings.oidc_emails,
        invoker_email=None if local else settings.invoker_service_account or "",
        invoker_audience=settings.internal_audience or settings.recheck_url,
    )
