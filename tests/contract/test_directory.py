"""Tests the Directory port, and the cache in front of it."""

from typing import Any

import pytest

from infra.local.fixtures import MODELS, put_fixtures
from infra.models import VENDORS
from shared.adapters.directory_cache import CachedDirectory
from shared.domain.directory import Profile
from shared.errors import ConfigurationError
from shared.settings import Settings
from tests.unit.world import TestClock


async def test_the_fixtures_are_read_back_as_records(backend: Any) -> None:
    await put_fixtures(backend.directory, Settings())
    assert await backend.directory.profile("demo") == Profile(
        user_id="demo", organization_id="acme", groups=frozenset({"users"})
    )
    organization = await backend.directory.organization("acme")
    assert organization.deployment == "europe" and organization.phrase_client_id == "pc-acme"
    assert (await backend.directory.model("demo-model")).name == "Demo model"
    for look_up in (backend.directory.profile, backend.directory.organization, backend.directory.model):
        assert await look_up("nobody") is None


@pytest.mark.parametrize("record_id", ["", ".", "..", "a/b", "__x__", "ü" * 800])
async def test_an_id_that_firestore_does_not_allow_finds_no_record(backend: Any, record_id: str) -> None:
    for look_up in (backend.directory.profile, backend.directory.organization, backend.directory.model):
        assert await look_up(record_id) is None


async def test_an_unknown_field_of_a_record_is_ignored(backend: Any) -> None:
    await backend.directory.put("organizations", "new", {"name": "N", "deployment": "d", "added_later": 1})
    assert (await backend.directory.organization("new")).name == "N"


async def test_a_record_that_lacks_a_field_is_an_error_and_is_not_listed(backend: Any) -> None:
    await put_fixtures(backend.directory, Settings())
    await backend.directory.put("models", "half-a-model", {"name": "H", "provider": "p"})
    with pytest.raises(ConfigurationError, match="The model half-a-model lacks api, upstream_model"):
        await backend.directory.model("half-a-model")
    assert "half-a-model" not in {model.id for model in await backend.directory.models()}


async def test_all_models_are_listed_by_id_disabled_ones_too(backend: Any) -> None:
    await put_fixtures(backend.directory, Settings())
    await backend.directory.put("models", "a-retired-model", {**MODELS["demo-model"], "enabled": False})
    models = await backend.directory.models()
    assert [model.id for model in models] == sorted(["a-retired-model", *MODELS])
    assert [model.id for model in models if not model.enabled] == ["a-retired-model"]


async def test_a_profile_is_forgotten_once(backend: Any) -> None:
    await put_fixtures(backend.directory, Settings())
    assert [await backend.directory.forget_profile("demo") for _ in range(2)] == [True, False]
    assert await backend.directory.profile("demo") is None and await backend.directory.profile("admin") is not None


async def test_the_settings_of_an_openai_compatible_server_become_my_model(backend: Any) -> None:
    settings = Settings(
        vendor_base_urls={"openai": "http://127.0.0.1:11434/v1"},
        openai_model="llama3.2",
        vendor_keys=frozenset({"openai"}),
    )
    await put_fixtures(backend.directory, settings)
    model = await backend.directory.model("my-model")
    assert (model.api, model.upstream_model, model.secret) == ("openai_chat", "llama3.2", "OPENAI_API_KEY")
    assert [model.id for model in await backend.directory.models() if model.id not in MODELS] == ["my-model"], (
        "such a server does not have OpenAI's models"
    )


async def test_models_of_a_vendor_are_there_while_its_key_is_set_and_disabled_afterwards(backend: Any) -> None:
    with_keys = Settings(vendor_keys=frozenset({"openai", "anthropic", "gemini"}))
    await put_fixtures(backend.directory, with_keys)
    named = {model_id for vendor in VENDORS.values() for model_id in vendor["models"]}
    assert {model.id for model in await backend.directory.models() if model.enabled} == {*MODELS, *named}
    await put_fixtures(backend.directory, Settings(vendor_keys=frozenset({"gemini"})))
    models = {model.id: model for model in await backend.directory.models()}
    assert set(models) == {*MODELS, *named}, "their runs stay, so the records stay"
    assert {model_id for model_id in named if models[model_id].enabled} == set(VENDORS["gemini"]["models"])


async def test_a_model_of_the_operators_own_with_a_vendors_name_stays_as_it_is(backend: Any) -> None:
    own = {**MODELS["demo-chat-model"], "secret": "OUR_GATEWAY_KEY"}
    await backend.directory.put("models", "gpt-6-luna", own)
    await put_fixtures(backend.directory, Settings())
    model = await backend.directory.model("gpt-6-luna")
    assert model.enabled and model.secret == "OUR_GATEWAY_KEY"


async def test_the_cache_shows_a_changed_record_after_a_minute_and_a_new_one_at_once(backend: Any) -> None:
    clock = TestClock()
    cached = CachedDirectory(backend.directory, clock)
    assert await cached.profile("new") is None
    await backend.directory.put("users", "new", {"organization_id": "acme"})
    assert (await cached.profile("new")) is not None
    await backend.directory.put("users", "new", {"organization_id": "globex"})
    clock.forward(59)
    assert (await cached.profile("new")).organization_id == "acme"  # type: ignore[union-attr]
    clock.forward(1)
    assert (await cached.profile("new")).organization_id == "globex"  # type: ignore[union-attr]
