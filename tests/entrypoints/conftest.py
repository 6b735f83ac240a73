"""Each function as functions-framework serves it, on a fresh embedded back end."""

import io
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from functions_framework.aio import create_asgi_app
from starlette.types import ASGIApp

from infra.local.fixtures import put_fixtures
from shared import log, wiring
from shared.adapters.sqlite.database import connect
from shared.domain.frozen import replace
from tests.authority import AUDIENCE, PROJECT, ROBOT, Authority

MAIN = str(Path(__file__).parents[2] / "main.py")


@cache
def app(name: str) -> ASGIApp:
    """Returns the function's app. Each call of create_asgi_app adds an entry to sys.path, which slows all imports."""
    created: ASGIApp = create_asgi_app(name, MAIN)
    return created


@dataclass
class Functions:
    """`client(name)` speaks to one function; `log` is what all of them wrote."""

    log: io.StringIO
    data_dir: Path

    def client(self, name: str, *, user: str | None = "demo") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {wiring.embedded_tokens().mint(user)}"} if user else {}
        transport = httpx.ASGITransport(app(name))
        return httpx.AsyncClient(transport=transport, base_url="http://function", headers=headers)

    async def rows(self, query: str) -> list[Any]:
        """Reads in the order of the writes, since nobody waits for the commit of a message."""
        found: list[Any] = await wiring.sqlite().database.write(lambda connection: connection.execute(query).fetchall())
        return found

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])


@cache
def empty_database() -> bytes:
    """Returns the file of a database that has all tables: to make one takes ten times as long as to copy it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "runs.db"
        connect(str(file), 1).close()
        return file.read_bytes()


@pytest.fixture
def settings_of_functions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "runs.db").write_bytes(empty_database())
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LLM_DEPLOYMENTS", json.dumps({"europe": "http://127.0.0.1:9", "default": "http://127.0.0.1:9"}))
    wiring.close()
    yield tmp_path
    wiring.close()
    log.configure()


@pytest.fixture
async def functions(settings_of_functions: Path) -> AsyncIterator[Functions]:
    settings, written = wiring.settings(), io.StringIO()
    log.configure(stream=written)
    await put_fixtures(wiring.sqlite().directory, settings)
    yield Functions(written, settings_of_functions)


@pytest.fixture
async def guarded(
    settings_of_functions: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Functions]:
    """Functions that trust Firebase and Google as the cloud's do, both played by `authority`."""
    credentials = authority.service_account_file(settings_of_functions / "account.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
    settings = replace(
        wiring.settings(),
        firebase_project=PROJECT,
        oidc_audiences=(AUDIENCE,),
        oidc_emails=(ROBOT,),
        allowed_origins=frozenset({"https://app.example.com"}),
    )
    wiring.use(settings, endpoints=authority.endpoints)
    settings, written = wiring.settings(), io.StringIO()
    log.configure(stream=written)
    await put_fixtures(wiring.sqlite().directory, settings)
    await wiring.sqlite().directory.put("users", ROBOT, {"organization_id": "acme", "groups": ["users"]})
    yield Functions(written, settings_of_functions)


def push(data: str, **attributes: str) -> dict[str, Any]:
    """A Pub/Sub push as Google sends it."""
    message = {"data": b64encode(data.encode()).decode(), "messageId": "4711", "attributes": attributes}
    return {"message": message, "subscription": "projects/p/subscriptions/process-run", "deliveryAttempt": 1}
