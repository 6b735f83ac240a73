"""Tests how each protocol names the parameters of a job, and how a Google access token takes the place of a key."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from shared import log
from shared.adapters.identity.access_tokens import CLOUD_PLATFORM, AccessTokens
from shared.adapters.identity.http import IdentityHttp
from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.http import LlmHttpPools
from shared.adapters.llm.messages import MessagesProtocol
from shared.adapters.llm.protocol import LlmCall
from shared.adapters.llm.provider import DirectoryLlmProvider
from shared.adapters.llm.responses import ResponsesProtocol
from shared.domain.directory import LlmApi, Model, ModelRef, Organization
from shared.domain.frozen import replace
from shared.domain.progress import Running
from shared.domain.run import Run
from shared.errors import IdentityUnavailable, LlmRefused, LlmUnavailable
from tests.contract.llm_server import Reply, ScriptedServer, responds, scripted_server
from tests.contract.runs import a_run

TOKEN = "ya29.canary"
MINUTE = timedelta(minutes=1)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}
CONTENT = {"full_input": "how?", "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 50, "response_schema": SCHEMA}
ANSWERS = {
    LlmApi.OPENAI_CHAT: {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]},
    LlmApi.OPENAI_RESPONSES: {"id": "resp_1", "status": "queued"},
    LlmApi.ANTHROPIC_MESSAGES: {"content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn"},
}


class Records:
    """A directory of one model."""

    def __init__(self, model: Model) -> None:
        self.only = model

    async def profile(self, user_id: str) -> None:
        return None

    async def organization(self, organization_id: str) -> Organization:
        return Organization(id="acme", name="Acme", deployment="europe")

    async def model(self, model_id: str) -> Model:
        return self.only

    async def style_guide(self, style_guide_id: str) -> None:
        return None

    async def reference_file(self, file_id: str) -> None:
        return None


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def ok(body: Any) -> Reply:
    return responds(200, json.dumps(body).encode())


def a_model(server: ScriptedServer, api: str, **fields: Any) -> Model:
    given = {"id": "m", "name": "M", "provider": "p", "upstream_model": "up-1", "base_url": f"{server.url}/v1"}
    return Model(api=api, **{**given, **fields})


@asynccontextmanager
async def provider_of(model: Model, **options: Any) -> AsyncIterator[DirectoryLlmProvider]:
    pools = LlmHttpPools(threads=2, name="test")
    yield DirectoryLlmProvider(
        Records(model),
        deployments={},
        asynchronous={LlmApi.OPENAI_RESPONSES: ResponsesProtocol(pools, secrets=lambda name: "sk-key")},
        synchronous={
            LlmApi.OPENAI_CHAT: ChatProtocol(pools, seconds=5, secrets=lambda name: "sk-key"),
            LlmApi.ANTHROPIC_MESSAGES: MessagesProtocol(pools, seconds=5, secrets=lambda name: "sk-key"),
        },
        **options,
    )
    pools.close()


def run_of(api: str, **fields: Any) -> Run:
    return a_run(deployment=None, model=ModelRef(id="m", name="M", provider="p"), api=api, attempt=1, **fields)


async def sent(server: ScriptedServer, model: Model, content: dict[str, Any]) -> dict[str, Any]:
    """Returns the body that the vendor gets."""
    server.replies = [ok(ANSWERS[LlmApi(model.api)])]
    async with provider_of(model) as provider:
        await provider.start(run_of(model.api), content, within=MINUTE)
    body: dict[str, Any] = json.loads(server.requests[-1].partition(b"\r\n\r\n")[2])
    return body


async def test_chat_names_the_parameters_as_openai_does(server: ScriptedServer) -> None:
    body = await sent(server, a_model(server, LlmApi.OPENAI_CHAT), CONTENT)
    assert {name: body[name] for name in ("temperature", "top_p", "max_tokens", "response_format")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
    }


async def test_a_chat_server_may_call_the_token_limit_otherwise(server: ScriptedServer) -> None:
    model = a_model(server, LlmApi.OPENAI_CHAT, token_limit_field="max_completion_tokens", max_output_tokens=40)
    body = await sent(server, model, {"full_input": "how?"})
    assert body["max_completion_tokens"] == 40 and "max_tokens" not in body


async def test_responses_name_the_parameters_as_openai_does(server: ScriptedServer) -> None:
    body = await sent(server, a_model(server, LlmApi.OPENAI_RESPONSES), {**CONTENT, "response_schema": LOOSE})
    assert {name: body[name] for name in ("temperature", "top_p", "max_output_tokens", "text")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 50,
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": LOOSE, "strict": False}},
    }


async def test_messages_name_the_parameters_as_anthropic_does(server: ScriptedServer) -> None:
    body = await sent(server, a_model(server, LlmApi.ANTHROPIC_MESSAGES), CONTENT)
    assert {name: body[name] for name in ("temperature", "top_p", "max_tokens", "output_config")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }


@pytest.mark.parametrize("api", ANSWERS)
async def test_what_nobody_has_chosen_is_left_to_the_vendor(server: ScriptedServer, api: LlmApi) -> None:
    body = await sent(server, a_model(server, api, parameters={"top_p": 0.3}), {"full_input": "how?"})
    assert body["top_p"] == 0.3
    names = {"temperature", "response_format", "text", "output_config", "max_output_tokens", "max_completion_tokens"}
    assert not names & set(body)


async def a_token() -> str:
    return TOKEN


async def no_token() -> str:
    raise IdentityUnavailable


@pytest.mark.parametrize("api", ANSWERS)
async def test_a_model_with_google_credentials_gets_an_access_token_and_no_key(
    server: ScriptedServer, api: LlmApi
) -> None:
    server.replies = [ok(ANSWERS[api])]
    model = a_model(server, api, auth="google", secret="NEVER_READ")
    async with provider_of(model, google_token=a_token) as provider:
        await provider.start(run_of(api), {"full_input": "how?"}, within=MINUTE)
    assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0] and b"sk-key" not in server.requests[0]


async def test_checks_and_cancels_carry_the_access_token_too(server: ScriptedServer) -> None:
    server.replies = [ok({"id": "r", "status": "in_progress"}), ok({"id": "r", "status": "cancelled"})]
    run = run_of(LlmApi.OPENAI_RESPONSES, provider_job_id="r")
    async with provider_of(a_model(server, run.api, auth="google"), google_token=a_token) as provider:
        assert await provider.check(run) == Running()
        await provider.cancel(run)
    assert all(f"Bearer {TOKEN}".encode() in request for request in server.requests) and len(server.requests) == 2


async def test_without_a_token_the_run_waits_for_credentials_and_no_call_is_made(server: ScriptedServer) -> None:
    model = a_model(server, LlmApi.OPENAI_CHAT, auth="google")
    async with provider_of(model, google_token=no_token) as provider:
        with pytest.raises(LlmUnavailable) as caught:
            await provider.start(run_of(model.api), {"full_input": "how?"}, within=MINUTE)
    assert caught.value.code == "llm_credentials" and not caught.value.may_be_billed and not server.requests


async def test_credentials_of_a_later_release_are_refused_without_a_call(server: ScriptedServer) -> None:
    model = a_model(server, LlmApi.OPENAI_CHAT, auth="of_a_later_release")
    async with provider_of(model, google_token=a_token) as provider:
        with pytest.raises(LlmRefused) as caught:
            await provider.start(run_of(model.api), {"full_input": "how?"}, within=MINUTE)
    assert caught.value.code == "model_unavailable" and not server.requests


def metadata(body: Any) -> Reply:
    return responds(200, json.dumps(body).encode(), "Metadata-Flavor: Google", "Content-Type: application/json")


async def test_the_token_comes_from_the_metadata_server_once_and_stands_in_no_log(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.StringIO()
    log.configure(stream=written, minimum="DEBUG")
    with scripted_server() as machine:
        host = machine.url.removeprefix("http://")
        for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"):
            monkeypatch.setenv(name, host)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")
        monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        granted = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        account = {"email": "robot@demo.iam.gserviceaccount.com", "scopes": ["a"], "aliases": ["default"]}

        def answer(connection: Any) -> None:
            reply = granted if b"/token" in machine.requests[-1] else account
            metadata(reply)(connection)

        machine.replies = [answer] * 20
        http = IdentityHttp(threads=2, name="test-tokens")
        model = a_model(server, LlmApi.OPENAI_CHAT, auth="google")
        server.replies = [ok(ANSWERS[LlmApi.OPENAI_CHAT])] * 2
        async with provider_of(model, google_token=AccessTokens(http, scopes=CLOUD_PLATFORM)) as provider:
            for _ in range(2):
                await provider.start(run_of(model.api), {"full_input": "how?"}, within=MINUTE)
        http.close()
    log.configure()
    asked = [request for request in machine.requests if b"/token" in request]
    assert len(asked) == 1 and b"cloud-platform" in asked[0], "it is kept until shortly before it expires"
    assert all(f"Bearer {TOKEN}".encode() in request for request in server.requests) and len(server.requests) == 2
    assert TOKEN not in written.getvalue() + "".join(capsys.readouterr())


def test_a_calls_token_is_not_shown() -> None:
    call = LlmCall(run=run_of(LlmApi.OPENAI_CHAT), base_url="http://127.0.0.1")
    assert TOKEN not in repr(replace(call, access_token=TOKEN))
