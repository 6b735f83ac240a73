"""Another tenant's data is not there: every role, every action, on both back ends, and by the security rules."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.emulators.host import PROJECT
from tests.e2e.system import Cloud, System, until
from tests.plain_http import NO_TLS

ROLES: dict[str, Any] = json.loads((Path(__file__).parent / "tenancy.json").read_text())["roles"]
SECRET = "canary of demo"


@pytest.fixture
def colleagues(system: System) -> System:
    """With a second plain member of acme."""
    system.put("users", "colleague", {"organization_id": "acme", "groups": ["users"]})
    return system


@cache
def one_run(system: System) -> str:
    """A complete one of demo's, for all who may do nothing to it."""
    return completed_run(system)


def completed_run(system: System) -> str:
    """Of demo's."""
    with system.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": SECRET}).json()["run_uuid"]
        until(lambda: client.get(f"/llm_user_runs/{run_id}").json()["is_complete"])
    return str(run_id)


def client_of(system: System, user: str | None) -> httpx.Client:
    return (
        system.client(user) if user else httpx.Client(base_url=system.url, timeout=30, trust_env=False, verify=NO_TLS)
    )


ACTIONS: dict[str, Callable[[str], tuple[str, str, Any]]] = {
    "get": lambda run_id: ("GET", f"/llm_user_runs/{run_id}", None),
    "job": lambda run_id: ("GET", f"/api/llm/jobs/{run_id}/status/", None),
    "result": lambda run_id: ("GET", f"/api/llm/jobs/{run_id}/result/", None),
    "list": lambda run_id: ("GET", "/llm_user_runs?limit=100", None),
    "stream": lambda run_id: ("GET", f"/llm_user_runs/{run_id}/stream", None),
    "own_channel": lambda run_id: ("GET", "/channels/user:demo/stream", None),
    "organization_channel": lambda run_id: ("GET", "/channels/org:acme/stream", None),
    "rerun": lambda run_id: ("POST", "/llm_user_runs", {"input_text": "again", "prior_run_uuid": run_id}),
    "end_client": lambda run_id: ("POST", "/llm_user_runs", {"input_text": "for", "end_client_id": "acme-client"}),
    "admin_run": lambda run_id: (
        "POST",
        "/llm_user_runs_admin",
        {"text": "t", "source_lang": "en", "target_lang": "fr"},
    ),
    "usage": lambda run_id: ("GET", "/api/usage/", None),
    "overdue": lambda run_id: ("GET", "/api/admin/overdue/", None),
    "overview": lambda run_id: ("GET", "/api/overview/", None),
    "organization_overview": lambda run_id: ("GET", "/api/overview/?scope=organization&span=week", None),
    "overview_runs": lambda run_id: ("GET", "/api/overview/runs/", None),
    "organization_runs": lambda run_id: ("GET", "/api/overview/runs/?scope=organization&limit=100", None),
    "dead_letters": lambda run_id: ("GET", "/api/admin/dead-letters/", None),
    "breakers": lambda run_id: ("GET", "/api/admin/breakers/", None),
    "limits": lambda run_id: ("GET", "/api/admin/limits/", None),
    "profile": lambda run_id: ("GET", "/api/auth/profile/", None),
    "cancel": lambda run_id: ("POST", f"/api/llm/jobs/{run_id}/cancel/", None),
    "delete": lambda run_id: ("DELETE", f"/llm_user_runs/{run_id}", None),
}


def first_of(client: httpx.Client, method: str, path: str, body: Any) -> tuple[int, str]:
    """(the status, the body; of an endless stream nothing of it)."""
    with client.stream(method, path, json=body) as answer:
        endless = "/channels/" in path and answer.status_code == 200
        return answer.status_code, "" if endless else answer.read().decode()


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_what_the_matrix_says(colleagues: System, role: str) -> None:
    expected = ROLES[role]
    run_id = completed_run(colleagues) if role == "owner" else one_run(colleagues)
    assert set(expected["http"]) == set(ACTIONS)
    with client_of(colleagues, expected["user"]) as client:
        answers = {name: first_of(client, *action(run_id)) for name, action in ACTIONS.items()}
    assert {name: status for name, (status, _) in answers.items()} == expected["http"]
    assert (run_id in answers["list"][1]) == expected["listed"]
    for name, (_, text) in answers.items():
        assert expected["listed"] or SECRET not in text, name
    with colleagues.client() as owner:
        assert ("deleted_at" in owner.get(f"/llm_user_runs/{run_id}").json()) == (role == "owner")


def unsigned(user: str) -> str:
    """A token as the emulator takes it (firebase.google.com/docs/rules/emulator-setup)."""
    claims = {"sub": user, "user_id": user, "aud": PROJECT, "iat": int(time.time()), "exp": int(time.time()) + 3600}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


def first_id(cloud: Cloud, collection: str) -> str:
    """Returns the path of a document that exists, such as usage/{id}."""
    found = httpx.get(
        f"{cloud.documents}/{collection}", headers={"Authorization": "Bearer owner"}, trust_env=False, verify=NO_TLS
    )
    return f"{collection}/{found.json()['documents'][0]['name'].rpartition('/')[2]}"


def query(limit: int | None) -> dict[str, Any]:
    whose = {"field": {"fieldPath": "user_id"}, "op": "EQUAL", "value": {"stringValue": "demo"}}
    wanted: dict[str, Any] = {"from": [{"collectionId": "llm_runs"}], "where": {"fieldFilter": whose}}
    return {"structuredQuery": wanted | ({"limit": limit} if limit else {})}


@pytest.mark.parametrize("role", ROLES)
def test_the_security_rules_say_the_same(cloud: Cloud, role: str) -> None:
    expected, run_id = ROLES[role], one_run(cloud)
    headers = {"Authorization": f"Bearer {unsigned(expected['user'])}"} if expected["user"] else {}
    run, base = f"{cloud.documents}/llm_runs/{run_id}", cloud.documents
    with httpx.Client(headers=headers, trust_env=False, verify=NO_TLS) as client:
        answers = {
            "get": client.get(run),
            "list": client.post(f"{base}:runQuery", json=query(limit=100)),
            "unlimited_list": client.post(f"{base}:runQuery", json=query(limit=None)),
            "write": client.patch(f"{run}?updateMask.fieldPaths=status", json={"fields": {}}),
        }
        paths = (f"users/{expected['user']}", f"llm_runs/{run_id}/parts/x", f"{first_id(cloud, 'usage')}", "budgets/x")
        others = [client.get(f"{base}/{path}") for path in paths]
    assert {name: answer.status_code == 200 for name, answer in answers.items()} == expected["rules"]
    assert {answer.status_code for answer in answers.values()} <= {200, 403}
    assert {answer.status_code for answer in others} == {403}


def test_an_expired_run_is_gone_for_its_owner_too(cloud: Cloud) -> None:
    run_id = completed_run(cloud)
    run, long_ago = f"{cloud.documents}/llm_runs/{run_id}", {"timestampValue": "2020-01-01T00:00:00Z"}
    with httpx.Client(trust_env=False, verify=NO_TLS) as client:
        path, owner = f"{run}?updateMask.fieldPaths=expires_at", {"Authorization": "Bearer owner"}
        assert client.patch(path, json={"fields": {"expires_at": long_ago}}, headers=owner).status_code == 200
        assert client.get(run, headers={"Authorization": f"Bearer {unsigned('demo')}"}).status_code == 403
    with cloud.client() as client:
        assert client.get(f"/llm_user_runs/{run_id}").json()["code"] == "run_not_found"
        assert run_id not in client.get("/llm_user_runs?limit=100").text
