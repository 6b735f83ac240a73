"""The protocols against LiteLLM's proxy, a server that none of us wrote: `make check-llm` runs this.

Its answers are mocked, so that no vendor is asked. It does not keep mocked responses, so their retrieval is not tested.
https://docs.litellm.ai/docs/proxy/configs
"""

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.http import LlmHttpPools
from shared.adapters.llm.messages import MessagesProtocol
from shared.adapters.llm.provider import DirectoryLlmProvider
from shared.adapters.llm.responses import ResponsesProtocol
from shared.domain.directory import LlmApi, Model
from shared.domain.progress import Finished
from shared.errors import LlmRefused
from tests.contract.test_llm_parameters import Records, run_of
from tests.e2e.system import free_port

ANSWER = "A mocked answer."
KEY = "sk-0123456789abcdef0123456789abcdef"
CONFIG = f"""
model_list:
  - model_name: mocked
    litellm_params: {{model: openai/gpt-4.1, api_key: none, mock_response: {ANSWER}}}
  - model_name: mocked-claude
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: none, mock_response: {ANSWER}}}
"""
CONTENT = {"system_message": "be brief", "full_input": "how?", "max_output_tokens": 50}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    (folder / "config.yaml").write_text(CONFIG)
    command = [os.environ["LITELLM"], "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    given = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
    with (folder / "log").open("w") as log:
        command[0] = str(Path(command[0]).absolute())
        process = subprocess.Popen(command, cwd=folder, env=given, stdout=log, stderr=log)
    wait_until_up(f"http://127.0.0.1:{port}/health/liveliness", folder)
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait(timeout=30)


def wait_until_up(url: str, folder: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.5)
        else:
            return
    pytest.fail((folder / "log").read_text()[-2000:])


async def asked(url: str, api: LlmApi, upstream_model: str, *, key: str = KEY) -> Finished:
    pools = LlmHttpPools(threads=1, name="test")
    model = Model(id="m", name="M", provider="p", api=api, upstream_model=upstream_model, base_url=url, secret="KEY")
    provider = DirectoryLlmProvider(
        Records(model),
        deployments={},
        asynchronous={LlmApi.OPENAI_RESPONSES: ResponsesProtocol(pools, secrets=lambda name: key)},
        synchronous={
            LlmApi.OPENAI_CHAT: ChatProtocol(pools, seconds=60, secrets=lambda name: key),
            LlmApi.ANTHROPIC_MESSAGES: MessagesProtocol(pools, seconds=60, secrets=lambda name: key),
        },
    )
    try:
        finished = await provider.start(run_of(api), CONTENT, within=timedelta(minutes=1))
    finally:
        pools.close()
    assert isinstance(finished, Finished)
    return finished


@pytest.mark.parametrize(
    ("api", "upstream_model"),
    [
        (LlmApi.OPENAI_CHAT, "mocked"),
        (LlmApi.OPENAI_CHAT, "mocked-claude"),
        (LlmApi.ANTHROPIC_MESSAGES, "mocked-claude"),
        (LlmApi.OPENAI_RESPONSES, "mocked"),
    ],
)
async def test_the_proxy_answers_each_protocol(proxy: str, api: LlmApi, upstream_model: str) -> None:
    finished = await asked(proxy, api, upstream_model)
    assert finished.result.text == ANSWER
    assert finished.usage.input_tokens > 0 and finished.usage.output_tokens > 0


@pytest.mark.parametrize("upstream_model", ["no-such-model"])
async def test_a_model_that_the_proxy_does_not_have_is_refused(proxy: str, upstream_model: str) -> None:
    with pytest.raises(LlmRefused):
        await asked(proxy, LlmApi.OPENAI_CHAT, upstream_model)
