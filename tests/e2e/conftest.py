"""One system of each kind for all tests that only read and write runs of their own."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from infra.local.emulators.ports import reserved_port
from tests.e2e.chromium import started_chromium
from tests.e2e.faulty import FaultySystem, faulty_system
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.system import Cloud, System
from tests.google import GoogleEmulators, need_emulators
from tests.redis_server import RedisServer

ORIGIN = "https://app.example.com"
OF_THE_FILE = {"ALLOWED_ORIGINS": ORIGIN, "OIDC_EMAILS": "no address", "PORT": "1"}
"""What `cloud` reads from `.env`; the environment has its own value of the last two, and wins."""
WINS_OVER_THE_FILE = {"OIDC_EMAILS": ""}


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that `local` and `cloud` may reach although its address is private."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[System]:
    data_dir = tmp_path_factory.mktemp("local") / "data"
    system = System(data_dir, LLM_SIM_SECONDS="0.5", WEBHOOK_ALLOWED_HOSTS=receiver.host)
    yield system
    assert system.stop() == 0


@pytest.fixture(scope="session")
def cloud(
    tmp_path_factory: pytest.TempPathFactory, cloud_redis: RedisServer | None, receiver: Receiver
) -> Iterator[Cloud]:
    """With fork support off, clients made before the fork would hang: it shows that none is."""
    need_emulators()
    settings = {"LLM_SIM_SECONDS": "0.5", "GRPC_ENABLE_FORK_SUPPORT": "0", **WINS_OVER_THE_FILE}
    settings["WEBHOOK_ALLOWED_HOSTS"] = receiver.host
    if cloud_redis is not None:
        settings["REDIS_URL"] = cloud_redis.url
    cloud = Cloud(tmp_path_factory.mktemp("cloud") / "data", env_file=OF_THE_FILE, **settings)
    yield cloud
    assert cloud.stop() == 0


@pytest.fixture(scope="session")
def cloud_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer | None]:
    """The result cache of `cloud`; None on a machine without redis-server."""
    if shutil.which("redis-server") is None:
        yield None
        return
    with reserved_port() as port:
        server = RedisServer(tmp_path_factory.mktemp("redis"), port)
        yield server
        server.kill()


@pytest.fixture(scope="session")
def _one_faulty_system(
    google_emulators: GoogleEmulators, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultySystem]:
    with faulty_system(tmp_path_factory.mktemp("faulty"), google_emulators.firestore) as system:
        yield system


@pytest.fixture
def faulty(_one_faulty_system: FaultySystem) -> Iterator[FaultySystem]:
    """One for all: each test ends with what it broke mended."""
    yield _one_faulty_system
    for proxy in (_one_faulty_system.firestore, _one_faulty_system.pubsub, _one_faulty_system.tasks):
        proxy.hook = None


@pytest.fixture(params=["local", "cloud"])
def system(request: pytest.FixtureRequest) -> System:
    system: System = request.getfixturevalue(request.param)
    return system


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with started_chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that knows nothing yet."""
    async with await chromium.new_context() as context:
        yield context
