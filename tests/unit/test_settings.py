"""What stops the start: settings of one machine in the cloud, and settings that would let the wrong people in."""

import pytest

from shared.errors import ConfigurationError
from shared.settings import from_environment

CLOUD = {
    "BACKEND": "gcp",
    "GOOGLE_CLOUD_PROJECT": "demo-callers",
    "RECHECK_URL": "https://recheck.example.com",
    "DELIVER_WEBHOOK_URL": "https://deliver.example.com",
    "INVOKER_SERVICE_ACCOUNT": "invoker@demo-callers.iam.gserviceaccount.com",
    "LLM_DEPLOYMENTS": '{"default": "https://llm.example.com"}',
    "K_SERVICE": "submit-run",
}
EMULATORS = ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "CLOUD_TASKS_EMULATOR_HOST")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in CLOUD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problems() -> str:
    with pytest.raises(ConfigurationError) as raised:
        from_environment()
    return raised.value.message


def test_the_cloud_starts_off_the_emulators(environment: pytest.MonkeyPatch) -> None:
    settings = from_environment()
    assert not settings.is_local and settings.allowed_origins == frozenset()


@pytest.mark.parametrize("name", [*EMULATORS, "FIREBASE_AUTH_EMULATOR_HOST", "SOME_NEW_EMULATOR_HOST"])
def test_no_emulator_setting_is_accepted_on_cloud_run(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "127.0.0.1:9099")
    assert "*_EMULATOR_HOST must not be set on Cloud Run" in problems()


def test_all_emulator_settings_together_are_refused_there_too(environment: pytest.MonkeyPatch) -> None:
    for name in EMULATORS:
        environment.setenv(name, "127.0.0.1:9099")
    assert "*_EMULATOR_HOST must not be set on Cloud Run" in problems()


@pytest.mark.parametrize("backend", ["embedded", ""])
def test_the_embedded_mode_does_not_start_on_cloud_run(environment: pytest.MonkeyPatch, backend: str) -> None:
    environment.setenv("BACKEND", backend)
    assert "BACKEND=embedded does not run on Cloud Run" in problems()


@pytest.mark.parametrize("name", [name for name in CLOUD if name not in ("BACKEND", "K_SERVICE")])
def test_the_cloud_does_not_start_without(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    assert f"{name} is needed" in problems()


def test_the_address_of_streams_is_none_unless_it_is_set(environment: pytest.MonkeyPatch) -> None:
    assert from_environment().streams_url is None
    environment.setenv("STREAMS_URL", "https://read-runs.example.com")
    assert from_environment().streams_url == "https://read-runs.example.com"


def test_lists_are_read_with_and_without_spaces(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_ORIGINS", "https://a.example.com, http://localhost:3000,http://[::1]:8080,")
    environment.setenv("OIDC_EMAILS", "a@example.com ,b@example.com")
    settings = from_environment()
    assert settings.allowed_origins == {"https://a.example.com", "http://localhost:3000", "http://[::1]:8080"}
    assert settings.oidc_emails == ("a@example.com", "b@example.com")


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "https://*.example.com",
        "https://a.example.com/",
        "https://a.example.com/path",
        "https://a.example.com?x",
        "https://A.example.com",
        "https://user@a.example.com",
        "https://a.example.com:",
        "a.example.com",
        "ftp://a.example.com",
        "https://",
        "https://a.example.com https://b.example.com",
        "https://a.example.com\n.evil.example",
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(environment: pytest.MonkeyPatch, origin: str) -> None:
    environment.setenv("ALLOWED_ORIGINS", f"https://good.example.com,{origin}")
    assert "ALLOWED_ORIGINS" in problems()


@pytest.mark.parametrize("email", ["*", "@example.com", "example.com", "a@", "a@b@c"])
def test_an_invalid_email_address_stops_the_start(environment: pytest.MonkeyPatch, email: str) -> None:
    environment.setenv("OIDC_EMAILS", email)
    assert "OIDC_EMAILS" in problems()


@pytest.mark.parametrize("name", ["SUBMITS_PER_MINUTE", "MAX_OPEN_RUNS"])
def test_a_limit_has_a_most_for_each_of_its_places_may_be_a_document(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, "10000")
    from_environment()
    environment.setenv(name, "10001")
    assert name in problems()
