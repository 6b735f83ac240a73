"""What all tests share: every async test runs on asyncio, and no test sees the settings of the machine."""

from collections.abc import AsyncIterator

import pytest

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


pytest_plugins = ["tests.workers", "tests.programs", "tests.collection", "tests.order", "tests.coverage_summary"]
