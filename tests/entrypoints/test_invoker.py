"""Who may call the internal functions in the cloud: Google's services in the invoker's name, and nobody else."""

import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared import log, wiring
from shared.adapters.gcp.clients import ClientsByLoop
from shared.ports import Identity
from shared.settings import Settings
from tests.authority import AUDIENCE, GCLOUD, PROJECT, ROBOT, Authority, Reply, signing_key
from tests.entrypoints.conftest import Functions, push
from tests.entrypoints.test_callers import Token, assert_refused, stripped, with_header
from tests.entrypoints.test_client_functions import UNKNOWN
from tests.google import endpoints

INTERNAL = ("process_run", "recheck_run", "sweep_runs", "bury_run")
BODY = {**push("canary-7f3a"), "run_id": "canary-7f3a"}


def in_the_cloud(tmp_path: Path, **changes: Any) -> Settings:
    given = {"project": PROJECT, "internal_audience": AUDIENCE, "invoker_service_account": ROBOT, **changes}
    return Settings(backend="gcp", data_dir=tmp_path, recheck_url="https://recheck.example.com", **given)


@pytest.fixture
def cloud(tmp_path: Path, authority: Authority) -> Any:
    """A function of the cloud whose store is not there: whatever asked it would fail."""
    wiring.use(in_the_cloud(tmp_path, firestore_emulator="127.0.0.1:9"), endpoints=authority.endpoints)
    wiring.settings()
    written = io.StringIO()
    log.configure(stream=written)
    yield Functions(written, tmp_path)
    wiring.close()
    log.configure()


STRANGERS: dict[str, Token] = {
    "another account": lambda a: a.oidc_token("other@demo-callers.iam.gserviceaccount.com"),
    "an account that only begins like it": lambda a: a.oidc_token(f"{ROBOT}.example.com"),
    "another audience": lambda a: a.oidc_token(aud="https://other.example.com"),
    "the default audience where another was set": lambda a: a.oidc_token(aud="https://recheck.example.com"),
    "gcloud's audience": lambda a: a.oidc_token(aud=GCLOUD),
    "an address that is not verified": lambda a: a.oidc_token(email_verified=False),
    "expired": lambda a: a.oidc_token(exp=int(time.time()) - 60),
    "another issuer": lambda a: a.oidc_token(iss="https://securetoken.google.com/demo-callers"),
    "a client's ID token": lambda a: a.id_token(),
    "an ID token that names the invoker": lambda a: a.id_token(email=ROBOT, email_verified=True, aud=AUDIENCE),
    "a key nobody knows": lambda a: signing_key("stolen").sign({"email": ROBOT}),
    "what Cloud Run leaves of a token": lambda a: stripped(a.oidc_token(), "SIGNATURE_REMOVED_BY_GOOGLE"),
    "alg none": lambda a: with_header(a.oidc_token(), {"alg": "none", "kid": "google-1"}),
    "HS256 signed with the public key": lambda a: with_header(
        a.oidc_token(), {"alg": "HS256", "kid": "google-1"}, a.google.public_pem()
    ),
    "rubbish": lambda a: "canary-7f3a",
}


@pytest.mark.parametrize("case", list(STRANGERS))
@pytest.mark.parametrize("name", INTERNAL)
async def test_callers_with_a_wrong_token_are_refused_before_anything_is_read_or_kept(
    cloud: Functions, authority: Authority, name: str, case: str
) -> None:
    token = STRANGERS[case](authority)
    async with cloud.client(name, user=None) as client:
        assert_refused(
            await client.post("/", json=BODY, headers={"Authorization": f"Bearer {token}"}), "unauthenticated"
        )
    lines = [json.loads(line) for line in cloud.log.getvalue().splitlines()]
    assert [line["message"] for line in lines if line["message"] != "keys not fetched"] == ["caller refused"]
    assert "canary" not in cloud.log.getvalue() and token not in cloud.log.getvalue()


@pytest.mark.parametrize("name", INTERNAL)
async def test_a_caller_without_a_token_is_refused(cloud: Functions, name: str) -> None:
    async with cloud.client(name, user=None) as client:
        for headers in ({}, {"Cookie": "__session=x"}, {"Authorization": "Bearer"}, {"X-CloudTasks-TaskName": "t"}):
            assert_refused(await client.post("/", content=b"{", headers=headers), "unauthenticated")


@pytest.mark.parametrize("name", INTERNAL)
async def test_a_health_check_of_anybody_is_answered_in_the_cloud_too(cloud: Functions, name: str) -> None:
    async with cloud.client(name, user=None) as client:
        assert [(await client.request(method, "/health")).status_code for method in ("GET", "HEAD")] == [200, 200]
    assert cloud.log.getvalue() == ""


async def test_an_invoker_who_was_never_named_lets_nobody_in(
    cloud: Functions, tmp_path: Path, authority: Authority
) -> None:
    settings = in_the_cloud(tmp_path, invoker_service_account=None, firestore_emulator="127.0.0.1:9")
    wiring.use(settings, endpoints=authority.endpoints)
    async with cloud.client("sweep_runs", user=None) as client:
        for email in (ROBOT, ""):
            headers = {"Authorization": f"Bearer {authority.oidc_token(email)}"}
            assert_refused(await client.post("/", json={}, headers=headers), "unauthenticated")


async def test_without_keys_the_event_comes_again(cloud: Functions, authority: Authority) -> None:
    authority.replies["/google"] = Reply(500)
    async with cloud.client("process_run", user=None) as client:
        headers = {"Authorization": f"Bearer {authority.oidc_token()}"}
        assert_refused(await client.post("/", json=BODY, headers=headers), "identity_unavailable")


class BrokenVerifier:
    async def verify(self, token: str) -> Identity:
        raise LookupError(token)


@pytest.mark.parametrize("name", INTERNAL)
async def test_a_check_of_callers_that_breaks_is_a_fault_of_ours_that_quotes_nothing(
    cloud: Functions, name: str
) -> None:
    object.__setattr__(wiring.services(), "invoker", BrokenVerifier())
    async with cloud.client(name, user=None) as client:
        answer = await client.post("/", json=BODY, headers={"Authorization": "Bearer canary-7f3a"})
    assert (answer.status_code, answer.json()) == (500, {"success": False, "code": "internal"})
    [line] = [json.loads(line) for line in cloud.log.getvalue().splitlines()]
    assert (line["message"], line["exception"]) == ("event failed", "LookupError")
    assert "canary" not in cloud.log.getvalue()


@pytest.fixture
async def cloud_with_store(tmp_path: Path, authority: Authority, google_emulators: Any) -> AsyncIterator[Functions]:
    """Only the store is emulated: for who may call, this is the cloud."""
    store = endpoints(google_emulators)
    settings = in_the_cloud(tmp_path, project=store.project, firestore_emulator=store.firestore_emulator)
    wiring.use(settings, endpoints=authority.endpoints)
    wiring.settings()
    log.configure(stream=io.StringIO())
    yield Functions(io.StringIO(), tmp_path)
    await wiring.google_clients()().close()
    wiring.close()
    log.configure()


async def kept(clients: ClientsByLoop) -> list[str]:
    return [letter.id async for letter in clients().firestore.collection("dead_letters").stream()]


@pytest.mark.parametrize("name", INTERNAL)
async def test_the_invoker_is_let_in_and_strangers_leave_nothing_behind(
    cloud_with_store: Functions, authority: Authority, name: str
) -> None:
    clients = wiring.google_clients()
    async with cloud_with_store.client(name, user=None) as client:
        stranger = {"Authorization": f"Bearer {authority.oidc_token('x@example.com')}"}
        assert (await client.post("/", json=BODY, headers=stranger)).status_code == 401
        assert await kept(clients) == []
        invoker = {"Authorization": f"Bearer {authority.oidc_token(ROBOT.upper())}"}
        assert (await client.post("/", json=BODY, headers=invoker)).status_code == 204
    assert len(await kept(clients)) == (0 if name == "sweep_runs" else 1)


async def test_in_the_cloud_clients_are_firebases_and_the_embedded_tokens_count_nothing(
    cloud_with_store: Functions, authority: Authority
) -> None:
    project = wiring.settings().project
    good = authority.id_token(iss=f"https://securetoken.google.com/{project}", aud=project)
    async with cloud_with_store.client("read_runs", user=None) as client:
        answer = await client.get(f"/llm_user_runs/{UNKNOWN}", headers={"Authorization": f"Bearer {good}"})
        assert_refused(answer, "no_profile")
        for token in (wiring.embedded_tokens().mint("demo"), authority.id_token(), authority.oidc_token(aud=GCLOUD)):
            answer = await client.get(f"/llm_user_runs/{UNKNOWN}", headers={"Authorization": f"Bearer {token}"})
            assert_refused(answer, "unauthenticated")
