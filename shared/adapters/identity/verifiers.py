"""Joins the verifiers to what the settings say: whose word counts here about who is calling."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.adapters.identity import embedded, firebase, google
from shared.adapters.identity.by_issuer import TokensByIssuer
from shared.adapters.identity.embedded import EmbeddedSessions, EmbeddedTokens
from shared.adapters.identity.firebase import FirebaseTokens
from shared.adapters.identity.firebase_sessions import FirebaseSessions
from shared.adapters.identity.google import GCLOUD_AUDIENCE, GoogleTokens
from shared.adapters.identity.http import IdentityHttp
from shared.adapters.identity.keys import RemoteKeys
from shared.adapters.identity.sessions_by_issuer import SessionKind, SessionsByIssuer
from shared.ports import Clock, SessionIssuer, TokenVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Of keys and accounts. Google's own, unless a test serves others."""

    firebase_keys: str = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
    session_keys: str = "https://identitytoolkit.googleapis.com/v1/sessionCookiePublicKeys"
    google_keys: str = "https://www.googleapis.com/oauth2/v3/certs"
    accounts: str = "https://identitytoolkit.googleapis.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuers:
    """Each part that is None or empty is trusted not at all."""

    embedded_in: Path | None = None
    """The folder of the embedded mode's key."""
    firebase_project: str | None = None
    oidc_audiences: tuple[str, ...] = ()
    oidc_emails: tuple[str, ...] = ()
    invoker_email: str | None = None
    """In whose name Google's services call the internal functions; None when anybody may, empty when nobody may."""
    invoker_audience: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPools:
    """Two, so that accounts which are slow to come do not hold up keys."""

    keys: IdentityHttp
    accounts: IdentityHttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifiers:
    tokens: TokenVerifier
    sessions: SessionIssuer
    invoker: TokenVerifier | None


def build_verifiers(
    trusted: TrustedIssuers,
    clock: Clock,
    *,
    endpoints: Endpoints,
    pools: HttpPools,
    access_token: Callable[[], Awaitable[str]],
) -> Verifiers:
    verifiers: dict[str, TokenVerifier] = {}
    kinds = []
    if trusted.embedded_in is not None:
        verifiers[embedded.ISSUER] = EmbeddedTokens(trusted.embedded_in)
        kinds.append(_embedded_sessions(trusted.embedded_in))
    if trusted.firebase_project is not None:
        tokens = FirebaseTokens(trusted.firebase_project, RemoteKeys(endpoints.firebase_keys, clock, pools.keys))
        verifiers[tokens.issuer] = tokens
        cookie_keys = RemoteKeys(endpoints.session_keys, clock, pools.keys)
        cookies = FirebaseTokens(trusted.firebase_project, cookie_keys, issuer=firebase.SESSION_ISSUER)
        sessions = FirebaseSessions(
            project=trusted.firebase_project,
            cookies=cookies,
            access_token=access_token,
            http=pools.accounts,
            url=endpoints.accounts,
        )
        kinds.append(SessionKind(id_token_issuer=tokens.issuer, cookie_issuer=cookies.issuer, sessions=sessions))
    google_keys = RemoteKeys(endpoints.google_keys, clock, pools.keys)
    verifiers.update(_of_google(trusted, google_keys))
    invoker = None
    if trusted.invoker_email is not None:
        audiences = (trusted.invoker_audience,) if trusted.invoker_audience else ()
        invoker = GoogleTokens(google_keys, audiences=audiences, emails=(trusted.invoker_email,))
    return Verifiers(tokens=TokensByIssuer(verifiers), sessions=SessionsByIssuer(*kinds), invoker=invoker)


def _of_google(trusted: TrustedIssuers, keys: RemoteKeys) -> Mapping[str, TokenVerifier]:
    """Service accounts, and people through gcloud; only those that are listed."""
    if not trusted.oidc_emails:
        return {}
    audiences = (*trusted.oidc_audiences, GCLOUD_AUDIENCE)
    return dict.fromkeys(google.ISSUERS, GoogleTokens(keys, audiences=audiences, emails=trusted.oidc_emails))


def _embedded_sessions(folder: Path) -> SessionKind:
    return SessionKind(
        id_token_issuer=embedded.ISSUER, cookie_issuer=embedded.SESSION_ISSUER, sessions=EmbeddedSessions(folder)
    )
