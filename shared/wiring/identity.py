"""Builds the token and session verifiers for the issuers that the settings trust."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shared.adapters.identity.cache import CachedTokens
from shared.ports import Clock, EndedSessions, SessionIssuer, TokenVerifier
from shared.settings import Settings
from shared.usecases.sessions import OpenSessions, Sessions

if TYPE_CHECKING:
    from shared.adapters.identity.access_tokens import AccessTokens
    from shared.adapters.identity.http import IdentityHttp
    from shared.adapters.identity.keys import RemoteKeys
    from shared.adapters.identity.sessions_by_issuer import SessionKind

THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """URLs of public keys and user accounts: Google's, unless a test serves others."""

    firebase_keys: str = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
    session_keys: str = "https://identitytoolkit.googleapis.com/v1/sessionCookiePublicKeys"
    google_keys: str = "https://www.googleapis.com/oauth2/v3/certs"
    accounts: str = "https://identitytoolkit.googleapis.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuers:
    """The issuers whose tokens are accepted. An issuer whose field is None or empty is not trusted."""

    embedded_key_folder: Path | None = None
    """The folder of the key that signs the tokens of `make token`."""
    firebase_project: str | None = None
    """The project whose Firebase ID tokens and session cookies are accepted."""
    oidc_audiences: tuple[str, ...] = ()
    """Accepted audiences of Google-signed tokens, besides gcloud's own."""
    oidc_emails: tuple[str, ...] = ()
    """Service accounts and people whose Google-signed tokens are accepted."""
    invoker_email: str | None = None
    """The service account that calls the internal functions. None accepts every caller, an empty name accepts none."""
    invoker_audience: str | None = None
    """The audience that the invoker's tokens must have."""


class HttpPools:
    """Two thread pools for HTTP calls, so that slow account look-ups do not delay the fetching of keys."""

    def __init__(self) -> None:
        from shared.adapters.identity.http import IdentityHttp

        self.keys: IdentityHttp = IdentityHttp(threads=THREADS, name="identity-keys")
        self.accounts: IdentityHttp = IdentityHttp(threads=THREADS, name="identity-accounts")

    def close(self) -> None:
        self.keys.close()
        self.accounts.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifiers:
    """The verifiers of bearer tokens, of session cookies and of the callers of internal functions, without a cache."""

    tokens: TokenVerifier
    sessions: SessionIssuer
    invoker: TokenVerifier | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """Holds what the functions need to authenticate callers. The verifiers cache successful verifications."""

    tokens: TokenVerifier
    sessions: Sessions
    invoker: TokenVerifier | None
    """Verifies the callers of the internal functions; None accepts every caller."""
    pools: HttpPools
    """The container closes them."""


def assemble_authentication(
    settings: Settings, ended: EndedSessions, clock: Clock, *, endpoints: Endpoints
) -> Authentication:
    """Returns the verifiers that the settings ask for. They fetch nothing before they verify the first token."""
    pools = HttpPools()
    verifiers = build_verifiers(trusted_issuers(settings), clock, endpoints=endpoints, pools=pools)
    tokens = CachedTokens(verifiers.tokens, clock)
    open_sessions = CachedTokens(OpenSessions(issuer=verifiers.sessions, ended=ended), clock)
    return Authentication(
        tokens=tokens,
        sessions=Sessions(tokens=tokens, issuer=verifiers.sessions, ended=ended, verifier=open_sessions, clock=clock),
        invoker=CachedTokens(verifiers.invoker, clock) if verifiers.invoker else None,
        pools=pools,
    )


def trusted_issuers(settings: Settings) -> TrustedIssuers:
    """Returns the issuers to trust: on one machine that of `make token`, and no other unless a setting names it.

    In the cloud, the tokens of `make token` are never accepted.
    """
    local = settings.is_local
    return TrustedIssuers(
        embedded_key_folder=settings.data_dir if local else None,
        firebase_project=settings.firebase_project or (None if local else settings.project),
        oidc_audiences=settings.oidc_audiences,
        oidc_emails=settings.oidc_emails,
        invoker_email=None if local else settings.invoker_service_account or "",
        invoker_audience=settings.internal_audience or settings.recheck_url,
    )


def build_verifiers(trusted: TrustedIssuers, clock: Clock, *, endpoints: Endpoints, pools: HttpPools) -> Verifiers:
    """Returns verifiers that choose the rules by the token's issuer, and fetch an issuer's keys on first use."""
    from shared.adapters.identity.by_issuer import TokensByIssuer
    from shared.adapters.identity.keys import RemoteKeys
    from shared.adapters.identity.sessions_by_issuer import SessionsByIssuer

    verifiers: dict[str, TokenVerifier] = {}
    session_kinds: list[SessionKind] = []
    if trusted.embedded_key_folder is not None:
        _add_embedded(trusted.embedded_key_folder, verifiers, session_kinds)
    if trusted.firebase_project is not None:
        _add_firebase(trusted.firebase_project, clock, endpoints, pools, verifiers, session_kinds)
    google_keys = RemoteKeys(endpoints.google_keys, clock, pools.keys)
    verifiers.update(_google_tokens(trusted, google_keys))
    return Verifiers(
        tokens=TokensByIssuer(verifiers),
        sessions=SessionsByIssuer(*session_kinds),
        invoker=_invoker(trusted, google_keys),
    )


def _add_embedded(folder: Path, verifiers: dict[str, TokenVerifier], session_kinds: "list[SessionKind]") -> None:
    from shared.adapters.identity import embedded
    from shared.adapters.identity.sessions_by_issuer import SessionKind

    verifiers[embedded.ISSUER] = embedded.EmbeddedTokens(folder)
    session_kinds.append(
        SessionKind(
            id_token_issuer=embedded.ISSUER,
            cookie_issuer=embedded.SESSION_ISSUER,
            sessions=embedded.EmbeddedSessions(folder),
        )
    )


def _add_firebase(
    project: str,
    clock: Clock,
    endpoints: Endpoints,
    pools: HttpPools,
    verifiers: dict[str, TokenVerifier],
    session_kinds: "list[SessionKind]",
) -> None:
    from shared.adapters.identity.firebase import SESSION_ISSUER, FirebaseTokens
    from shared.adapters.identity.firebase_sessions import FirebaseSessions
    from shared.adapters.identity.keys import RemoteKeys
    from shared.adapters.identity.sessions_by_issuer import SessionKind

    tokens = FirebaseTokens(project, RemoteKeys(endpoints.firebase_keys, clock, pools.keys))
    cookie_keys = RemoteKeys(endpoints.session_keys, clock, pools.keys)
    cookies = FirebaseTokens(project, cookie_keys, issuer=SESSION_ISSUER)
    sessions = FirebaseSessions(
        project=project,
        cookies=cookies,
        access_token=_AccessToken(pools.accounts),
        http=pools.accounts,
        url=endpoints.accounts,
    )
    verifiers[tokens.issuer] = tokens
    session_kinds.append(SessionKind(id_token_issuer=tokens.issuer, cookie_issuer=cookies.issuer, sessions=sessions))


class _AccessToken:
    """Imports Google's credentials library on first use: it takes 0.1 s, and only session cookies need it."""

    def __init__(self, http: "IdentityHttp") -> None:
        self._access_tokens = cache(lambda: _access_tokens(http))

    async def __call__(self) -> str:
        return await self._access_tokens()()


def _access_tokens(http: "IdentityHttp") -> "AccessTokens":
    from shared.adapters.identity.access_tokens import AccessTokens

    return AccessTokens(http)


def _google_tokens(trusted: TrustedIssuers, keys: "RemoteKeys") -> Mapping[str, TokenVerifier]:
    """Returns {issuer: verifier} for the listed service accounts, and for listed people who use gcloud."""
    if not trusted.oidc_emails:
        return {}
    from shared.adapters.identity.google import GCLOUD_AUDIENCE, ISSUERS, GoogleTokens

    audiences = (*trusted.oidc_audiences, GCLOUD_AUDIENCE)
    return dict.fromkeys(ISSUERS, GoogleTokens(keys, audiences=audiences, emails=trusted.oidc_emails))


def _invoker(trusted: TrustedIssuers, keys: "RemoteKeys") -> TokenVerifier | None:
    if trusted.invoker_email is None:
        return None
    from shared.adapters.identity.google import GoogleTokens

    audiences = (trusted.invoker_audience,) if trusted.invoker_audience else ()
    return GoogleTokens(keys, audiences=audiences, emails=(trusted.invoker_email,))
