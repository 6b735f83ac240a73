"""Builds the answers of the simulated LLM in the forms of OpenAI and Anthropic."""

from typing import Any

from starlette.responses import JSONResponse, Response

from infra.local.simulated_translator import answer_to_instructions
from infra.local.translation import translate


def openai_error(status: int, code: str, message: str, *, retry_after: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    body = {"error": {"code": code, "message": message, "type": kind, "param": None}}
    return JSONResponse(body, status_code=status, headers=headers)


def anthropic_error(status: int, kind: str, message: str, *, retry_after: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return JSONResponse(body, status_code=status, headers=headers)


def message_object(model: str, text: str) -> dict[str, Any]:
    """Builds Anthropic's message."""
    is_refused, answer = "[[refuse]]" in text, _answer(text)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [] if is_refused else [{"type": "text", "text": answer}],
        "stop_reason": "refusal" if is_refused else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": len(text) // 4 + 1, "output_tokens": len(answer) // 4 + 1},
    }


def _answer(text: str) -> str:
    return (
        answer_to_instructions(text)
        or f"Simulated analysis of {len(text.split())} words: {translate(text[:400], target_lang='en')['text']}"
    )


def completion(model: str, text: str) -> dict[str, Any]:
    """Builds OpenAI's chat completion."""
    answer = _answer(text)
    counts = {"prompt_tokens": len(text) // 4 + 1, "completion_tokens": len(answer) // 4 + 1}
    usage = {**counts, "total_tokens": sum(counts.values())}
    message = {"role": "assistant", "content": answer}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    shown = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    return {**shown, "choices": choices, "usage": usage}


def response_object(job_id: str, model: str, text: str, created_at: float, state: dict[str, Any]) -> dict[str, Any]:
    """Builds OpenAI's response object; `state` is that of the job behind it."""
    shown: dict[str, Any] = {
        "id": f"resp_{job_id}",
        "object": "response",
        "created_at": int(created_at),
        "model": model,
        "background": True,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    match state["status"]:
        case "running":
            return {**shown, "status": "in_progress"}
        case "cancelled":
            return {**shown, "status": "cancelled"}
        case "failed":
            return {**shown, "status": "failed", "error": {"code": "server_error", "message": "the model gave up"}}
    part: dict[str, Any] = {"type": "output_text", "text": _answer(text), "annotations": []}
    if "[[refuse]]" in text:
        part = {"type": "refusal", "refusal": "this text is not answered here"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {**state["usage"], "total_tokens": sum(state["usage"].values())}
    return {**shown, "status": "completed", "output": [message], "usage": usage}
