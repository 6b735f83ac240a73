"""Who is let in, and what everybody else is told: the same sentence, whatever was wrong with the credentials."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import wiring
from shared.web import csrf
from tests.authority import GCLOUD, PROJECT, ROBOT, Authority, Reply, SigningKey, signing_key
from tests.entrypoints.conftest import Functions
from tests.entrypoints.test_client_functions import UNKNOWN
from tests.examples import examples

JOBS = "/api/llm/jobs/"
CANCEL = f"/api/llm/jobs/{UNKNOWN}/cancel/"
OWN = "https://function"
PAST, FUTURE = int(time.time()) - 3600, int(time.time()) + 3600

BODIES = {
    "unauthenticated": (401, "Authentication is required."),
    "csrf_failed": (
        403,
        "Send X-CSRFToken as GET /api/auth/csrf/ returns it, from a page of this site or of a listed origin.",
    ),
    "no_profile": (403, "You have no profile yet; ask your administrator."),
    "identity_unavailable": (503, "Your credentials cannot be checked at the moment; try again."),
}


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_header(token: str, header: dict[str, Any], key: bytes | None = None) -> str:
    """The token's claims under another header; signed with HMAC when there is a key, else not at all."""
    content = f"{encoded(header)}.{token.split('.')[1]}"
    digest = hmac.new(key, content.encode(), sha256).digest() if key else b""
    return f"{content}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def stripped(token: str, signature: str = "") -> str:
    return f"{token.rpartition('.')[0]}.{signature}"


Token = Callable[[Authority], str]

LET_IN: dict[str, Token] = {
    "a Firebase ID token": lambda a: a.id_token(),
    "one that expired within the skew": lambda a: a.id_token(exp=int(time.time()) - 5),
    "one from a clock slightly ahead": lambda a: a.id_token(iat=int(time.time()) + 5, auth_time=int(time.time()) + 5),
    "a service account on the list": lambda a: a.oidc_token(),
    "its address in other letters": lambda a: a.oidc_token(ROBOT.upper()),
    "Google's issuer without a scheme": lambda a: a.oidc_token(iss="accounts.google.com"),
    "gcloud's audience and an address on the list": lambda a: a.oidc_token(aud=GCLOUD),
    "an embedded token": lambda a: wiring.embedded_tokens().mint("demo"),
}

REFUSED: dict[str, Token] = {
    "expired": lambda a: a.id_token(exp=PAST),
    "not yet valid": lambda a: a.id_token(nbf=FUTURE),
    "issued in the future": lambda a: a.id_token(iat=FUTURE),
    "signed in in the future": lambda a: a.id_token(auth_time=FUTURE),
    "without a sign-in": lambda a: a.id_token(auth_time=None),
    "a sign-in that is no time": lambda a: a.id_token(auth_time=1e300),
    "without expiry": lambda a: a.id_token(exp=None),
    "an expiry without end": lambda a: a.id_token(exp=float("inf")),
    "an issue without end": lambda a: a.id_token(iat=float("inf")),
    "an expiry that is no number": lambda a: a.id_token(exp={}),
    "a subject that is no text": lambda a: a.id_token(sub=5),
    "an audience that is no text": lambda a: a.id_token(aud={}),
    "without a subject": lambda a: a.id_token(sub=None),
    "an empty subject": lambda a: a.id_token(""),
    "a subject that is an address on the list": lambda a: a.id_token(ROBOT),
    "a subject with an at sign": lambda a: a.id_token("x@"),
    "a long subject": lambda a: a.id_token("x" * 129),
    "another audience": lambda a: a.id_token(aud="another"),
    "several audiences": lambda a: a.id_token(aud=[PROJECT, "another"]),
    "another project's issuer": lambda a: a.id_token(iss="https://securetoken.google.com/another"),
    "another project altogether": lambda a: a.id_token(iss="https://securetoken.google.com/another", aud="another"),
    "an issuer that is no text": lambda a: with_header(
        f".{encoded({'iss': ['x']})}.", {"alg": "RS256", "kid": "firebase-1"}
    ),
    "an issuer nobody knows": lambda a: a.id_token(iss="https://evil.example.com"),
    "a Google token with Firebase's issuer": lambda a: a.id_token(key=a.google),
    "another key under a known name": lambda a: a.id_token(key=SigningKey("firebase-1", signing_key("stolen").private)),
    "another key under its own name": lambda a: a.id_token(key=signing_key("stolen")),
    "alg none": lambda a: with_header(a.id_token(), {"alg": "none", "kid": "firebase-1"}),
    "alg None in other letters": lambda a: with_header(a.id_token(), {"alg": "nOnE", "kid": "firebase-1"}),
    "HS256 signed with the public key": lambda a: with_header(
        a.id_token(), {"alg": "HS256", "kid": "firebase-1", "typ": "JWT"}, a.firebase.public_pem()
    ),
    "HS256 with Google's issuer": lambda a: with_header(
        a.oidc_token(), {"alg": "HS256", "kid": "google-1"}, a.google.public_pem()
    ),
    "a key address of its own": lambda a: with_header(
        a.id_token(), {"alg": "RS256", "jku": f"{a.url}/evil", "kid": "evil"}
    ),
    "without a key id": lambda a: with_header(a.id_token(), {"alg": "RS256"}),
    "a removed signature": lambda a: stripped(a.id_token()),
    "Google's word for a removed signature": lambda a: stripped(a.oidc_token(), "SIGNATURE_REMOVED_BY_GOOGLE"),
    "another token's signature": lambda a: stripped(a.id_token(), a.id_token("other").rpartition(".")[2]),
    "another user's claims": lambda a: ".".join(
        [a.id_token().split(".")[0], a.id_token("other").split(".")[1], a.id_token().split(".")[2]]
    ),
    "gcloud's audience and a foreign address": lambda a: a.oidc_token("mallory@example.com", aud=GCLOUD),
    "an address that only begins like a listed one": lambda a: a.oidc_token(f"{ROBOT}.example.com"),
    "an address that is not verified": lambda a: a.oidc_token(email_verified=False),
    "an address that is verified in words": lambda a: a.oidc_token(email_verified="true"),
    "no word on the address": lambda a: a.oidc_token(email_verified=None),
    "no address": lambda a: a.oidc_token(email=None),
    "Google's token for another audience": lambda a: a.oidc_token(aud="https://other.example.com"),
    "Google's token for Firebase": lambda a: a.oidc_token(aud=PROJECT),
    "an expired Google token": lambda a: a.oidc_token(exp=PAST),
    "a session's cookie": lambda a: a.session_cookie(),
    "a header with depths": lambda a: f"{urlsafe_b64encode(b'[' * 9000).decode()}.{a.id_token().split('.')[1]}.",
    "an embedded token under a header with depths": lambda a: ".".join(
        [urlsafe_b64encode(b"[" * 9000).decode(), *wiring.embedded_tokens().mint("demo").split(".")[1:]]
    ),
    "a token without end": lambda a: a.id_token("x" * 20_000),
    "rubbish": lambda a: "canary-7f3a",
}


def assert_refused(answer: Any, code: str) -> None:
    status, sentence = BODIES[code]
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    assert (answer.status_code, body) == (
        status,
        {"success": False, "error": sentence, "code": code, "retryable": status == 503},
    )


def assert_untold(functions: Functions, *secrets: str) -> None:
    """Nothing of the credentials is in the log."""
    written = functions.log.getvalue()
    for secret in secrets:
        for part in (secret, *secret.split(".")):
            assert len(part) < 8 or part not in written


@pytest.mark.parametrize("case", list(LET_IN))
async def test_good_tokens_are_let_in(guarded: Functions, authority: Authority, case: str) -> None:
    token = LET_IN[case](authority)
    async with guarded.client("read_runs", user=None) as client:
        for _ in range(2):
            answer = await client.get(JOBS, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200
    assert_untold(guarded, token)


@pytest.mark.parametrize("case", list(REFUSED))
async def test_bad_tokens_get_one_and_the_same_answer(guarded: Functions, authority: Authority, case: str) -> None:
    token = REFUSED[case](authority)
    async with guarded.client("read_runs", user=None) as client:
        answer = await client.get(JOBS, headers={"Authorization": f"Bearer {token}"})
    assert_refused(answer, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert_untold(guarded, token)


async def test_a_firebase_user_is_who_the_token_says(guarded: Functions, authority: Authority) -> None:
    async with guarded.client("read_runs", user=None) as client:
        answer = await client.get(JOBS, headers={"Authorization": f"Bearer {authority.id_token('newcomer')}"})
    assert_refused(answer, "no_profile")


async def test_without_keys_nobody_is_refused_for_good(guarded: Functions, authority: Authority) -> None:
    authority.replies["/firebase"] = authority.replies["/google"] = Reply(503)
    async with guarded.client("read_runs", user=None) as client:
        for token in (authority.id_token(), authority.oidc_token()):
            answer = await client.get(JOBS, headers={"Authorization": f"Bearer {token}"})
            assert_refused(answer, "identity_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        embedded = wiring.embedded_tokens().mint("demo")
        assert (await client.get(JOBS, headers={"Authorization": f"Bearer {embedded}"})).status_code == 200


async def test_the_embedded_mode_trusts_nobody_else_unless_asked_to(functions: Functions) -> None:
    wiring.services()
    claims = {"iss": f"https://securetoken.google.com/{PROJECT}", "aud": PROJECT, "sub": "demo", "exp": FUTURE}
    async with functions.client("read_runs", user=None) as client:
        for issuer in (claims["iss"], "https://accounts.google.com"):
            token = signing_key("firebase-1").sign({**claims, "iss": issuer})
            assert_refused(await client.get(JOBS, headers={"Authorization": f"Bearer {token}"}), "unauthenticated")


Headers = Callable[[str], dict[str, str]]
SECURE = {"X-Forwarded-Proto": "https", "Host": "function"}


def from_page(cookie: str, **changes: str | None) -> dict[str, str]:
    """What the browser sends for a script of our own page."""
    sent = {"Cookie": f"__session={cookie}", "X-CSRFToken": csrf.token_of(cookie), "Origin": OWN, **SECURE}
    return {name: value for name, value in {**sent, **changes}.items() if value is not None}


GOOD_PAGES: dict[str, Headers] = {
    "our own page": from_page,
    "a listed page": lambda cookie: from_page(cookie, Origin="https://app.example.com"),
    "our own page behind Hosting": lambda cookie: from_page(
        cookie, **{"Origin": "https://x.web.app", "Sec-Fetch-Site": "same-origin"}
    ),
    "our own page without Origin": lambda cookie: from_page(
        cookie, **{"Origin": None, "Sec-Fetch-Site": "same-origin"}
    ),
    "our own page over plain http": lambda cookie: from_page(
        cookie, **{"Origin": "http://function", "X-Forwarded-Proto": None}
    ),
}
BAD_PAGES: dict[str, Headers] = {
    "without a CSRF token": lambda cookie: from_page(cookie, **{"X-CSRFToken": None}),
    "an empty CSRF token": lambda cookie: from_page(cookie, **{"X-CSRFToken": ""}),
    "another session's CSRF token": lambda cookie: from_page(cookie, **{"X-CSRFToken": csrf.token_of("another")}),
    "neither Origin nor Sec-Fetch-Site": lambda cookie: from_page(cookie, Origin=None),
    "origin null": lambda cookie: from_page(cookie, Origin="null"),
    "origin null though same-origin": lambda cookie: from_page(
        cookie, **{"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    ),
    "Sec-Fetch-Site same-site": lambda cookie: from_page(cookie, **{"Origin": None, "Sec-Fetch-Site": "same-site"}),
    "Sec-Fetch-Site none": lambda cookie: from_page(cookie, **{"Origin": None, "Sec-Fetch-Site": "none"}),
    **{
        f"origin {origin}": lambda cookie, origin=origin: from_page(cookie, Origin=origin)  # type: ignore[misc]
        for origin in [
            "http://function",
            "https://function.example.com",
            "https://evilfunction",
            "https://function:8443",
            "https://function/",
            "https://app.example.com.evil.example",
            "https://evil-app.example.com",
            "http://app.example.com",
            "https://app.example.com:444",
            "https://APP.example.com",
            "https://app.example.com@evil.example",
            "https://evil.example",
            "",
        ]
    },
}


@pytest.mark.parametrize("case", list(GOOD_PAGES))
async def test_sessions_change_things_from_pages_of_ours(guarded: Functions, authority: Authority, case: str) -> None:
    headers = GOOD_PAGES[case](authority.session_cookie())
    async with guarded.client("read_runs", user=None) as client:
        answer = await client.post(CANCEL, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


@pytest.mark.parametrize("case", list(BAD_PAGES))
async def test_forged_requests_of_sessions_are_refused_with_one_answer(
    guarded: Functions, authority: Authority, case: str
) -> None:
    cookie = authority.session_cookie()
    async with guarded.client("read_runs", user=None) as client:
        assert_refused(await client.post(CANCEL, headers=BAD_PAGES[case](cookie)), "csrf_failed")
        answer = await client.get(JOBS, headers=BAD_PAGES[case](cookie))
        assert answer.status_code == 200, "reading needs the cookie alone"
    assert_untold(guarded, cookie, csrf.token_of(cookie))


BAD_COOKIES: dict[str, Token] = {
    "none": lambda a: "",
    "rubbish": lambda a: "canary-7f3a",
    "expired": lambda a: a.session_cookie(exp=PAST),
    "another project": lambda a: a.session_cookie(aud="another"),
    "an ID token": lambda a: a.id_token(),
    "signed with the ID tokens' key": lambda a: a.id_token(iss=f"https://session.firebase.google.com/{PROJECT}"),
    "alg none": lambda a: with_header(a.session_cookie(), {"alg": "none", "kid": "sessions-1"}),
    "a removed signature": lambda a: stripped(a.session_cookie()),
    "a Google token": lambda a: a.oidc_token(),
    "an embedded bearer token": lambda a: wiring.embedded_tokens().mint("demo"),
    "a user whose name is an address": lambda a: a.session_cookie(ROBOT),
    "a user who is gone": lambda a: a.session_cookie("gone"),
    "a user who is disabled": lambda a: a.session_cookie("disabled"),
    "a user who was signed out everywhere": lambda a: a.session_cookie("revoked"),
    "a user of whom nothing sensible is known": lambda a: a.session_cookie("odd"),
}


@pytest.mark.parametrize("case", list(BAD_COOKIES))
async def test_bad_cookies_get_the_same_answer_as_bad_tokens(
    guarded: Functions, authority: Authority, case: str
) -> None:
    authority.accounts |= {
        ROBOT: {"localId": ROBOT},
        "disabled": {"localId": "disabled", "disabled": True},
        "revoked": {"localId": "revoked", "validSince": str(int(time.time()) + 60)},
        "odd": {"localId": "odd", "validSince": "soon"},
    }
    cookie = BAD_COOKIES[case](authority)
    async with guarded.client("read_runs", user=None) as client:
        assert_refused(await client.post(CANCEL, headers=from_page(cookie)), "unauthenticated")
        for method, path in (("GET", "/api/auth/csrf/"), ("DELETE", "/api/auth/session/")):
            answer = await client.request(method, path, headers=from_page(cookie))
            assert_refused(answer, "unauthenticated")
            gone = SimpleCookie(answer.headers["set-cookie"])["__session"]
            assert (gone.value, gone["max-age"], gone["path"]) == ("", "0", "/")
    assert_untold(guarded, cookie)


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/auth/csrf/"), ("DELETE", "/api/auth/session/")])
async def test_a_cookie_is_deleted_only_where_a_bad_one_was_sent(
    guarded: Functions, authority: Authority, method: str, path: str
) -> None:
    forged = from_page(authority.session_cookie(), Origin="null")
    async with guarded.client("read_runs", user=None) as client:
        for headers in ({}, forged):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == (401 if headers == {} else 200 if method == "GET" else 403)
            assert "set-cookie" not in answer.headers


async def test_an_authorization_header_decides_alone(guarded: Functions, authority: Authority) -> None:
    cookie = authority.session_cookie()
    async with guarded.client("read_runs", user=None) as client:
        bad = {**from_page(cookie), "Authorization": "Bearer canary-7f3a"}
        assert_refused(await client.get(JOBS, headers=bad), "unauthenticated")
        good = {"Authorization": f"Bearer {authority.id_token()}", "Cookie": "__session=x", "Origin": "null"}
        assert (await client.post(CANCEL, headers=good)).json()["code"] == "run_not_found"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150), deadline=None)
@given(
    token=st.none() | st.binary(max_size=200) | st.just("good"),
    cookie=st.none() | st.binary(max_size=200) | st.just("good"),
    origin=st.none() | st.binary(max_size=60),
    csrf_token=st.none() | st.binary(max_size=80),
    prefix=st.sampled_from([b"", b"Bearer ", b"__session=", b"Bearer eyJhbGciOiJIUzI1NiJ9.e30."]),
)
async def test_any_bytes_as_credentials_get_an_answer_below_500(
    guarded: Functions,
    authority: Authority,
    token: Any,
    cookie: Any,
    origin: bytes | None,
    csrf_token: bytes | None,
    prefix: bytes,
) -> None:
    sent = {
        b"authorization": f"Bearer {authority.id_token()}".encode() if token == "good" else prefixed(prefix, token),
        b"cookie": f"__session={authority.session_cookie()}".encode() if cookie == "good" else prefixed(prefix, cookie),
        b"origin": origin,
        b"x-csrftoken": csrf_token,
    }
    headers = [(name, value) for name, value in sent.items() if value is not None]
    async with guarded.client("read_runs", user=None) as client:
        for method, path in [("GET", JOBS), ("POST", CANCEL), ("DELETE", "/api/auth/session/"), ("OPTIONS", JOBS)]:
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code in (200, 204, 401, 403, 404, 405), answer.text


def prefixed(prefix: bytes, value: bytes | None) -> bytes | None:
    return None if value is None else prefix + value
