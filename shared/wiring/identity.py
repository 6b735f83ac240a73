"""Makes the verifiers of tokens and sessions for the issuers that the settings trust."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from shared.ports import Clock, EndedSessions, SessionIssuer, TokenVerifier
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.adapters.identity.access_tokens import AccessTokens
    from shared.adapters.identity.firebase import FirebaseTokens
    from shared.adapters.identity.http import IdentityHttp
    from shared.adapters.identity.keys import RemoteKeys
    from shared.adapters.identity.sessions_by_issuer import SessionKind
    from shared.usecases.sessions import Sessions

THREADS = 8


class Endpoints(Struct, frozen=True, kw_only=True):
    """URLs of public keys and user accounts: Google's, unless a test serves others."""

    firebase_keys: str = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
    session_keys: str = "https://identitytoolkit.googleapis.com/v1/sessionCookiePublicKeys"
    google_keys: str = "https://www.googleapis.com/oauth2/v3/certs"
    accounts: str = "https://identitytoolkit.googleapis.com/v1"


class TrustedIssuers(Struct, frozen=True, kw_only=True):
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


class Authentication:
    """Makes what the functions need to authenticate callers, each when it is first asked for.

    The verifiers cache successful verifications, and choose the rules by the token's issuer. They fetch nothing before
    they verify the first token.
    """

    def __init__(
        self,
        settings: Settings,
        ended: Callable[[], EndedSessions],
        clock: Clock,
        *,
        endpoints: Endpoints,
        closing: ExitStack,
    ) -> None:
        """`closing` closes the thread pools."""
        self._trusted = trusted_issuers(settings)
        self._ended = ended
        self._clock = clock
        self._endpoints = endpoints
        self._closing = closing

    @cached_property
    def tokens(self) -> TokenVerifier:
        """Verifies bearer tokens."""
        from shared.adapters.identity.by_issuer import TokensByIssuer
        from shared.adapters.identity.cache import CachedTokens

        trusted = self._trusted
        verifiers: dict[str, TokenVerifier] = {}
        if trusted.embedded_key_folder is not None:
            from shared.adapters.identity import embedded

            verifiers[embedded.ISSUER] = embedded.EmbeddedTokens(trusted.embedded_key_folder)
        if trusted.firebase_project is not None:
            firebase = self._firebase_tokens(trusted.firebase_project)
            verifiers[firebase.issuer] = firebase
        if trusted.oidc_emails:
            from shared.adapters.identity.google import GCLOUD_AUDIENCE, ISSUERS, GoogleTokens

            audiences = (*trusted.oidc_audiences, GCLOUD_AUDIENCE)
            google = GoogleTokens(self._google_keys, audiences=audiences, emails=trusted.oidc_emails)
            verifiers |= dict.fromkeys(ISSUERS, google)
        return CachedTokens(TokensByIssuer(verifiers), self._clock)

    @cached_property
    def sessions(self) -> "Sessions":
        """Starts, verifies and ends browser sessions."""
        from shared.adapters.identity.cache import CachedTokens
        from shared.usecases.sessions import OpenSessions, Sessions

        issuer, ended = self._session_issuer(), self._ended()
        verifier = CachedTokens(OpenSessions(issuer=issuer, ended=ended), self._clock)
        return Sessions(tokens=self.tokens, issuer=issuer, ended=ended, verifier=verifier, clock=self._clock)

    @cached_property
    def invoker(self) -> TokenVerifier | None:
        """Verifies the callers of the internal functions; None accepts every caller."""
        trusted = self._trusted
        if trusted.invoker_email is None:
            return None
        from shared.adapters.identity.cache import CachedTokens
        from shared.adapters.identity.google import GoogleTokens

        audiences = (trusted.invoker_audience,) if trusted.invoker_audience else ()
        return CachedTokens(
            GoogleTokens(self._google_keys, audiences=audiences, emails=(trusted.invoker_email,)), self._clock
        )

    def _session_issuer(self) -> SessionIssuer:
        from shared.adapters.identity.sessions_by_issuer import SessionsByIssuer

        kinds: list[SessionKind] = []
        if self._trusted.embedded_key_folder is not None:
            kinds.append(_embedded_sessions(self._trusted.embedded_key_folder))
        if self._trusted.firebase_project is not None:
            kinds.append(self._firebase_sessions(self._trusted.firebase_project))
        return SessionsByIssuer(*kinds)

    def _firebase_tokens(self, project: str) -> "FirebaseTokens":
        from shared.adapters.identity.firebase import FirebaseTokens

        return FirebaseTokens(project, self._keys(self._endpoints.firebase_keys))

    def _firebase_sessions(self, project: str) -> "SessionKind":
        from shared.adapters.identity.firebase import ID_TOKEN_ISSUER, SESSION_ISSUER, FirebaseTokens
        from shared.adapters.identity.firebase_sessions import FirebaseSessions
        from shared.adapters.identity.sessions_by_issuer import SessionKind

        cookies = FirebaseTokens(project, self._keys(self._endpoints.session_keys), issuer=SESSION_ISSUER)
        accounts = self._pool("identity-accounts")
        sessions = FirebaseSessions(
            project=project,
            cookies=cookies,
            access_token=_AccessToken(accounts),
            http=accounts,
            url=self._endpoints.accounts,
        )
        return SessionKind(
            id_token_issuer=f"{ID_TOKEN_ISSUER}{project}", cookie_issuer=cookies.issuer, sessions=sessions
        )

    @cached_property
    def _google_keys(self) -> "RemoteKeys":
        return self._keys(self._endpoints.google_keys)

    def _keys(self, url: str) -> "RemoteKeys":
        from shared.adapters.identity.keys import RemoteKeys

        return RemoteKeys(url, self._clock, self._keys_pool)

    @cached_property
    def _keys_pool(self) -> "IdentityHttp":
        """Makes threads apart from those of accounts, so that slow look-ups do not delay the fetching of keys."""
        return self._pool("identity-keys")

    def _pool(self, name: str) -> "IdentityHttp":
        from shared.adapters.identity.http import IdentityHttp

        pool = IdentityHttp(threads=THREADS, name=name)
        self._closing.callback(pool.close)
        return pool


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


def _embedded_sessions(folder: Path) -> "SessionKind":
    from shared.adapters.identity.embedded import ISSUER, SESSION_ISSUER, EmbeddedSessions
    from shared.adapters.identity.sessions_by_issuer import SessionKind

    return SessionKind(id_token_issuer=ISSUER, cookie_issuer=SESSION_ISSUER, sessions=EmbeddedSessions(folder))


class _AccessToken:
    """Imports Google's credentials library on first use: it takes 0.1 s, and only session cookies need it."""

    def __init__(self, http: "IdentityHttp") -> None:
        self._access_tokens = cache(lambda: _access_tokens(http))

    async def __call__(self) -> str:
        return await self._access_tokens()()


def _access_tokens(http: "IdentityHttp") -> "AccessTokens":
    from shared.adapters.identity.access_tokens import AccessTokens

    return AccessTokens(http)
