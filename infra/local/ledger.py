"""Keeps the ledger of the simulated LLM: what a vendor would have charged for, so that tests compare runs with it.

A vendor charges for work that it has begun, whether its answer arrives or not. So a call is charged unless it is
refused, and a job or a batch is charged when it is created, for its input at least.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.local.fixtures import MODELS
from infra.local.simulated_errors import is_bad_request
from infra.local.simulated_jobs import Job, Jobs
from infra.local.simulated_vendors import completion, message_object
from infra.models import BATCH_RATE, VENDORS
from shared.domain.directory import LlmApi

State = Callable[[Job], dict[str, Any]]
CALLS = {"/v1/chat/completions": LlmApi.OPENAI_CHAT, "/v1/messages": LlmApi.ANTHROPIC_MESSAGES}
"""{end of a path: protocol} of the calls that last as long as the LLM works."""
BATCHES = {"openai": LlmApi.OPENAI_BATCH, "anthropic": LlmApi.ANTHROPIC_BATCH}
PRICES: dict[str, Mapping[str, float]] = {
    model_id: model["prices"] for vendor in VENDORS.values() for model_id, model in vendor["models"].items()
}
DEMO_PRICES: dict[str, Mapping[str, float]] = {
    str(model[name]): model.get("prices", {})
    for model in MODELS.values()
    for name in ("api", "batch_api")
    if name in model
}
"""{protocol: prices} of the models of the local system, which all have the same name at the simulator."""


class Ledger:
    """The charges for calls are lines of the simulator's file, and those for jobs follow from the jobs themselves."""

    def __init__(self, jobs: Jobs, state: State) -> None:
        self._jobs = jobs
        self._state = state

    def charges(self) -> list[dict[str, Any]]:
        """Returns [{protocol, run_id, trace_id, model, input_tokens, output_tokens, cost_usd, at}], oldest first.

        `run_id` and `trace_id` are None where the request had none.
        """
        jobs = [self._charge_of_job(job) for job in self._jobs.by_id.values()]
        calls = [_charge_of_call(**call) for call in self._jobs.calls.values()]
        return sorted([*jobs, *calls], key=lambda charge: charge["at"])

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Returns the app with the charges for its calls written down."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            api = next((api for path, api in CALLS.items() if scope.get("path", "").endswith(path)), None)
            if api is None or scope.get("method") != "POST":
                await app(scope, receive, send)
                return
            body = await _read_body(receive)
            key = self._begin(api, dict(scope["headers"]), body)

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] >= 400:
                    self._jobs.write(key=key, body=None, at=time.time(), action="refused call")
                await send(message)

            await app(scope, _replay(body, receive), sending)

        return watched

    def _begin(self, api: str, headers: Mapping[bytes, bytes], body: bytes) -> str:
        """Writes a charge down before the work begins: a process that is killed in its midst has cost money, too."""
        key = str(uuid4())
        try:
            request = json.loads(body)
        except ValueError:
            request = {}
        call = {
            "api": api,
            "text": text_of(request),
            "model": str(request.get("model")),
            "idempotency_key": headers.get(b"idempotency-key", b"").decode() or None,
            "traceparent": headers.get(b"traceparent", b"").decode() or None,
        }
        self._jobs.write(key=key, body=call, at=time.time(), action="call")
        return key

    def _charge_of_job(self, job: Job) -> dict[str, Any]:
        vendor, state = job.body.get("batch_of"), self._state(job)
        api = BATCHES[vendor] if vendor else LlmApi.OPENAI_RESPONSES if job.is_response else LlmApi.LLM_JOBS
        usage = state.get("usage")
        if usage is None or vendor and is_bad_request(job.text):
            usage = {"input_tokens": len(job.text) // 4 + 1, "output_tokens": 0}
        elif vendor == "anthropic" and state["status"] == "finished":
            usage = message_object("", job.text)["usage"]
        return _charge(
            api=api,
            run_id=job.body.get("run_uuid"),
            traceparent=job.traceparent,
            model=str(job.body.get("model")),
            usage=usage,
            at=job.created_at,
        )


def text_of(request: Mapping[str, Any]) -> str:
    """Returns the text of a request for a chat completion or a message, in which the markers are."""
    texts = [request.get("system"), *(message.get("content") for message in request.get("messages", []))]
    return "\n\n".join(str(text) for text in texts if text)


def _charge_of_call(
    *, api: str, text: str, model: str, idempotency_key: str | None, traceparent: str | None, at: float
) -> dict[str, Any]:
    answer = completion(model, text) if api == LlmApi.OPENAI_CHAT else message_object(model, text)
    run_id = idempotency_key.rpartition("-")[0] if idempotency_key else None
    return _charge(api=api, run_id=run_id, traceparent=traceparent, model=model, usage=answer["usage"], at=at)


def _charge(
    *, api: str, run_id: str | None, traceparent: str | None, model: str, usage: Mapping[str, int], at: float
) -> dict[str, Any]:
    input_tokens = usage.get("input_tokens", usage.get("prompt_tokens", 0))
    output_tokens = usage.get("output_tokens", usage.get("completion_tokens", 0))
    prices = PRICES.get(model) or DEMO_PRICES.get(api, {})
    rate = BATCH_RATE if api in BATCHES.values() else 1.0
    cost = (input_tokens * prices.get("input", 0.0) + output_tokens * prices.get("output", 0.0)) / 1e6 * rate
    return {
        "protocol": api,
        "run_id": run_id,
        "trace_id": traceparent.split("-")[1] if traceparent else None,
        "model": model,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": round(cost, 9),
        "at": at,
    }


async def _read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that gives the whole body first."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replaying() -> Message:
        return messages.pop() if messages else await receive()

    return replaying
