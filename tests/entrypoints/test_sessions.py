"""A session from sign-in to its end: what the browser is told to keep, what Firebase is asked, and what ends it."""

import asyncio
import json
import threading
import time
from http.cookies import Morsel, SimpleCookie

import httpx
import pytest

from shared import wiring
from shared.web import csrf
from tests.authority import PROJECT, Authority, Reply
from tests.entrypoints.conftest import Functions

SESSION, CSRF, JOBS = "/api/auth/session/", "/api/auth/csrf/", "/api/llm/jobs/"
FIVE_DAYS = 5 * 86400
CREATE = f"/v1/projects/{PROJECT}:createSessionCookie"
LOOK_UP = f"/v1/projects/{PROJECT}/accounts:lookup"


def cookie_of(answer: httpx.Response) -> "Morsel[str]":
    return SimpleCookie(answer.headers["set-cookie"])["__session"]


async def started(client: httpx.AsyncClient, token: str, **headers: str) -> "Morsel[str]":
    answer = await client.post(SESSION, headers={"Authorization": f"Bearer {token}", **headers})
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True and answer.json()["expires_at"].endswith("Z")
    client.cookies.clear()
    return cookie_of(answer)


async def page_of(client: httpx.AsyncClient, cookie: str) -> dict[str, str]:
    """The headers of a script of our own page in this session."""
    own = {"Cookie": f"__session={cookie}", "Origin": "http://function"}
    answer = await client.get(CSRF, headers=own)
    assert answer.status_code == 200, answer.text
    return {**own, "X-CSRFToken": answer.json()["csrf_token"]}


@pytest.fixture(params=["embedded", "firebase"])
def id_token(request: pytest.FixtureRequest, guarded: Functions, authority: Authority) -> str:
    return wiring.embedded_tokens().mint("demo") if request.param == "embedded" else authority.id_token()


async def test_a_session_lives_from_sign_in_to_its_end(guarded: Functions, id_token: str) -> None:
    async with guarded.client("read_runs", user=None) as client:
        cookie = (await started(client, id_token)).value
        page = await page_of(client, cookie)
        assert (await client.get(JOBS, headers=page)).status_code == 200
        ended = await client.delete(SESSION, headers=page)
        assert (ended.status_code, ended.json()) == (200, {"success": True})
        gone = cookie_of(ended)
        assert (gone.value, gone["max-age"], gone["path"]) == ("", "0", "/")
        for answer in (
            await client.get(JOBS, headers=page),
            await client.get(CSRF, headers=page),
            await client.delete(SESSION, headers=page),
        ):
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    stored = str(await guarded.rows("SELECT * FROM ended_sessions"))
    assert cookie not in stored and cookie.split(".")[2] not in stored
    for secret in (cookie, id_token, page["X-CSRFToken"]):
        assert not any(part in guarded.log.getvalue() for part in secret.split(".") if len(part) > 8)


async def test_an_ended_session_stays_ended_in_every_process(
    guarded: Functions, authority: Authority, id_token: str
) -> None:
    async with guarded.client("read_runs", user=None) as client:
        page = await page_of(client, (await started(client, id_token)).value)
        await client.delete(SESSION, headers=page)
    wiring.use(wiring.settings(), endpoints=authority.endpoints)
    async with guarded.client("read_runs", user=None) as client:
        assert (await client.get(JOBS, headers=page)).status_code == 401


async def test_ending_one_session_leaves_the_users_others(guarded: Functions) -> None:
    token = wiring.embedded_tokens().mint("demo")
    async with guarded.client("read_runs", user=None) as client:
        one, two = [await page_of(client, (await started(client, token)).value) for _ in range(2)]
        assert one["X-CSRFToken"] != two["X-CSRFToken"]
        await client.delete(SESSION, headers=one)
        assert (await client.get(JOBS, headers=two)).status_code == 200
        mixed = await client.delete(SESSION, headers={**two, "X-CSRFToken": one["X-CSRFToken"]})
        assert (mixed.status_code, mixed.json()["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize(
    ("host", "proto", "secure"),
    [
        ("runs.example.com", None, True),
        ("runs.example.com", "https", True),
        ("127.0.0.1:8080", None, False),
        ("127.0.0.1:8080", "https", True),
        ("localhost", None, False),
        ("[::1]:8080", None, False),
        ("127.0.0.1.example.com", None, True),
        ("localhost.example.com", None, True),
        ("10.0.0.1", None, True),
        ("", None, True),
    ],
)
async def test_the_cookie_is_for_https_except_on_this_machine(
    functions: Functions, host: str, proto: str | None, secure: bool
) -> None:
    headers = {"Host": host, **({"X-Forwarded-Proto": proto} if proto else {})}
    async with functions.client("read_runs", user=None) as client:
        cookie = await started(client, wiring.embedded_tokens().mint("demo"), **headers)
    assert bool(cookie["secure"]) is secure
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert cookie["max-age"] == str(FIVE_DAYS) and not cookie["domain"]


async def test_the_token_may_come_in_the_body(guarded: Functions, id_token: str) -> None:
    async with guarded.client("read_runs", user=None) as client:
        answer = await client.post(SESSION, json={"id_token": id_token})
        assert (answer.status_code, cookie_of(answer)["httponly"]) == (200, True)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        ('{"id_token": "x.y.z"}', "application/json", 401),
        ('{"id_token": ""}', "application/json", 400),
        ('{"id_token": 5}', "application/json", 400),
        ("{}", "application/json", 400),
        ('{"id_token": "x", "more": 1}', "application/json", 400),
        ('{"id_token": "x"}', "text/plain", 415),
        ("id_token=x", "application/x-www-form-urlencoded", 415),
        ("", "", 415),
    ],
)
async def test_a_body_that_a_foreign_form_could_send_starts_nothing(
    guarded: Functions, content: str, kind: str, status: int
) -> None:
    async with guarded.client("read_runs", user=None) as client:
        answer = await client.post(SESSION, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status and "set-cookie" not in answer.headers


async def test_a_sign_in_long_ago_starts_no_session(guarded: Functions, authority: Authority) -> None:
    old = authority.id_token(auth_time=int(time.time()) - 301)
    async with guarded.client("read_runs", user=None) as client:
        for token in (old, authority.oidc_token()):
            answer = await client.post(SESSION, headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["code"]) == (401, "recent_sign_in_required")
            assert "set-cookie" not in answer.headers
    assert CREATE not in authority.paths()


async def test_a_session_starts_no_other_session(guarded: Functions, id_token: str) -> None:
    async with guarded.client("read_runs", user=None) as client:
        cookie = (await started(client, id_token)).value
        answer = await client.post(SESSION, headers={"Authorization": f"Bearer {cookie}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_firebase_is_asked_for_the_cookie_and_once_a_minute_for_the_account(
    guarded: Functions, authority: Authority
) -> None:
    token = authority.id_token()
    async with guarded.client("read_runs", user=None) as client:
        page = await page_of(client, (await started(client, token)).value)
        for _ in range(5):
            await client.get(JOBS, headers=page)
    asked = {asked.path: asked for asked in authority.asked}
    assert asked[CREATE].body == {"idToken": token, "validDuration": str(FIVE_DAYS)}
    assert asked[LOOK_UP].body == {"localId": ["demo"]}
    assert asked[CREATE].authorization == asked[LOOK_UP].authorization == "Bearer an-access-token"
    assert authority.paths().count(LOOK_UP) == authority.paths().count("/token") == 1


async def test_concurrent_requests_of_one_session_look_the_account_up_once(
    guarded: Functions, authority: Authority
) -> None:
    session = {"Cookie": f"__session={authority.session_cookie()}"}
    async with guarded.client("read_runs", user=None) as client:
        for reply, status in ((Reply(500), 503), (None, 200), (None, 200)):
            authority.replies = {LOOK_UP: reply} if reply else {}
            answers = await asyncio.gather(*[client.get(JOBS, headers=session) for _ in range(20)])
            assert {answer.status_code for answer in answers} == {status}
    assert authority.paths().count(LOOK_UP) == 2


async def test_the_threads_that_ask_end_with_everything_else(guarded: Functions, authority: Authority) -> None:
    async with guarded.client("read_runs", user=None) as client:
        await client.get(JOBS, headers={"Cookie": f"__session={authority.session_cookie()}"})
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("identity-")]
    assert {thread.name for thread in threads} >= {"identity-keys_0", "identity-accounts_0"}
    wiring.close()
    for thread in threads:
        await asyncio.to_thread(thread.join, 20)
        assert not thread.is_alive()


@pytest.mark.parametrize("path", [CREATE, LOOK_UP, pytest.param("/token", marks=pytest.mark.slow)])
@pytest.mark.parametrize("reply", [Reply(500), Reply(403, b'{"error": {}}'), Reply(200, b"canary-7f3a"), Reply(429)])
async def test_an_error_of_google_is_503_and_is_logged_without_its_text(
    guarded: Functions, authority: Authority, path: str, reply: Reply
) -> None:
    authority.replies[path] = reply
    headers = {"Authorization": f"Bearer {authority.id_token()}"}
    async with guarded.client("read_runs", user=None) as client:
        if path == LOOK_UP:
            answer = await client.get(JOBS, headers={"Cookie": f"__session={authority.session_cookie()}"})
        else:
            answer = await client.post(SESSION, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "identity_unavailable")
    lines = [json.loads(line) for line in guarded.log.getvalue().splitlines()]
    assert {"identity service refused", "no access token"} & {line["message"] for line in lines}
    assert "canary" not in guarded.log.getvalue()


async def test_a_token_that_firebase_itself_refuses_starts_no_session(guarded: Functions, authority: Authority) -> None:
    authority.replies[CREATE] = Reply(400, b'{"error": {"message": "INVALID_ID_TOKEN"}}')
    async with guarded.client("read_runs", user=None) as client:
        answer = await client.post(SESSION, headers={"Authorization": f"Bearer {authority.id_token()}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_while_the_store_is_away_no_session_is_believed_or_said_to_have_ended(functions: Functions) -> None:
    token = wiring.embedded_tokens().mint("demo")
    async with functions.client("read_runs", user=None) as client:
        known, fresh = [(await started(client, token)).value for _ in range(2)]
        page = await page_of(client, known)
        wiring.sqlite().close()
        ended = await client.delete(SESSION, headers=page)
        looked = await client.get(CSRF, headers={"Cookie": f"__session={fresh}"})
    for answer in (ended, looked):
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert "set-cookie" not in ended.headers


def test_a_csrf_token_tells_nothing_of_the_cookie_and_fits_no_other() -> None:
    assert len({csrf.token_of(cookie) for cookie in ("a", "b", "", "ü\udc80")}) == 4
