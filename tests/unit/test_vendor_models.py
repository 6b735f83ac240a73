"""The records of vendors' models: addresses, prices of a day, and what the settings choose."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra import models
from infra.models import VENDORS, records
from shared.domain.directory import LlmApi, Model, read_record
from shared.domain.money import price_list_at
from shared.domain.parameters import NAMES
from shared.errors import ConfigurationError
from shared.settings import Settings, from_environment

KEYS = {"OPENAI_API_KEY": "openai", "ANTHROPIC_API_KEY": "anthropic", "GEMINI_API_KEY": "gemini"}


def base_urls(**urls: str) -> set[str]:
    settings = Settings(vendor_keys=frozenset(urls), vendor_base_urls=urls)
    return {record["base_url"] for record in records(settings).values()}


@pytest.mark.parametrize(("name", "vendor"), KEYS.items())
def test_a_key_alone_gives_the_models_of_its_vendor_and_no_others(
    monkeypatch: pytest.MonkeyPatch, name: str, vendor: str
) -> None:
    assert records(from_environment()) == {}
    monkeypatch.setenv(name, "sk-canary")
    settings = from_environment()
    found = records(settings)
    assert set(found) == set(VENDORS[vendor]["models"]) and {record["secret"] for record in found.values()} == {name}
    assert "sk-canary" not in json.dumps(found) + repr(settings), "only the key's name is known"


def test_each_record_is_a_model_with_prices_a_protocol_and_defaults_that_it_takes() -> None:
    for model_id, record in records(Settings(), vendors=VENDORS).items():
        model = read_record(Model, model_id, record)
        assert set(record) <= set(Model.__struct_fields__), "a misspelt field would be ignored"
        prices = price_list_at(model.prices, datetime.now(UTC)) or {}
        assert 0 < prices["input"] <= prices["output"] and ("batch" in prices) == (model.batch_api is not None)
        assert model.api in set(LlmApi) and model.upstream_model == model_id and "/" not in model_id
        assert {*(model.parameters or {}), *model.unsupported_parameters} <= set(NAMES)
    assert all(len(vendor["sources"]) >= 2 for vendor in VENDORS.values())


def test_a_change_of_price_counts_from_its_day() -> None:
    prices = records(Settings(), vendors=["gemini"])["gemini-4-argon"]["prices"]
    moments = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    assert [price_list_at(prices, moment) for moment in moments] == [
        {"input": 2.0, "output": 10.0},
        {"input": 4.0, "output": 20.0},
    ]


def test_openai_works_in_the_background_unless_its_server_has_chat_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert {record["api"] for record in records(from_environment()).values()} == {"openai_responses"}
    monkeypatch.setenv("OPENAI_API", "openai_chat")
    found = records(from_environment()).values()
    assert {record["api"] for record in found} == {"openai_chat"}
    assert {record["token_limit_field"] for record in found} == {"max_completion_tokens"}


@pytest.mark.parametrize(
    ("vendor", "given", "used"),
    [
        ("openai", "http://127.0.0.1:9/proxy/v1/", "http://127.0.0.1:9/proxy/v1"),
        ("openai", "http://127.0.0.1:9/", "http://127.0.0.1:9/v1"),
        ("anthropic", "http://127.0.0.1:9", "http://127.0.0.1:9/v1"),
        ("anthropic", "http://127.0.0.1:9/europe", "http://127.0.0.1:9/europe/v1"),
        ("anthropic", "http://127.0.0.1:9/europe/v1/", "http://127.0.0.1:9/europe/v1"),
        ("gemini", "http://127.0.0.1:9", "http://127.0.0.1:9/v1beta/openai"),
        ("gemini", "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
    ],
)
def test_a_base_url_is_taken_as_the_vendors_own_client_takes_it(vendor: str, given: str, used: str) -> None:
    assert base_urls(**{vendor: given}) == {used}


def test_a_model_of_a_server_needs_the_server_or_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "llama3.2")
    with pytest.raises(ConfigurationError, match="OPENAI_MODEL needs OPENAI_BASE_URL or OPENAI_API_KEY"):
        from_environment()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    assert from_environment().vendors_with_models == frozenset()


def test_the_command_writes_the_records_only_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    named = set(VENDORS["gemini"]["models"])
    for options in ([], ["--write"]):
        assert not (tmp_path / "runs.db").exists()
        monkeypatch.setattr("sys.argv", ["models", "gemini", *options])
        assert models.main() == 0
        assert set(json.loads(capsys.readouterr().out)) == named
    assert set(stored(tmp_path)) == named


def stored(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "runs.db")) as database:
        return [row[0] for row in database.execute("SELECT id FROM directory WHERE collection = 'models'")]
