"""What all tests share: every async test runs on asyncio, and no test sees the settings of the machine."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from tests.examples import QUICK


def pytest_configure(config: pytest.Config) -> None:
    """Chooses how many examples Hypothesis makes up, before the files with tests are imported."""
    settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("fast", settings.get_profile("shared machine"), max_examples=QUICK)
    settings.load_profile("fast" if config.getoption("--fast") else "shared machine")


SETTINGS = ("BACKEND", "PORT", "DATA_DIR", "LLM_DEPLOYMENTS", "LLM_SIM_SECONDS", "LLM_SIM_PORT")
VENDORS = (
    "OPENAI_API", "OPENAI_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",
    "GEMINI_API_KEY", "GEMINI_BASE_URL",
)  # fmt: skip
CALLERS = ("FIREBASE_PROJECT", "OIDC_AUDIENCES", "OIDC_EMAILS", "ALLOWED_ORIGINS", "GOOGLE_APPLICATION_CREDENTIALS")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def _one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """gRPC's one poller for all loops hands events of a closed loop to the next: keep one for all tests."""
    yield


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *SETTINGS,
        *CALLERS,
        *VENDORS,
        "REDIS_URL",
        "DEADLINE_SECONDS",
        "LLM_CALL_SECONDS",
        "K_SERVICE",
    ):
        monkeypatch.delenv(name, raising=False)


pytest_plugins = [
    "tests.workers",
    "tests.order",
    "tests.authority",
    "tests.google",
    "tests.redis_server",
    "tests.sqlite",
    "tests.coverage_summary",
]
