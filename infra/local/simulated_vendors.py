"""Builds the answers of the simulated LLM in the forms of OpenAI and Anthropic."""

from typing import Any

from infra.local.simulated_errors import OPENAI_JOB_ERROR
from infra.local.simulated_translator import answer_to_instructions
from infra.local.translation import translate


def message_object(model: str, text: str) -> dict[str, Any]:
    """Builds Anthropic's message."""
    is_refused, answer = "[[refuse]]" in text, answer_to(text)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [] if is_refused else [{"type": "text", "text": answer}],
        "stop_reason": "refusal" if is_refused else "max_tokens" if is_cut_off(text) else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": len(text) // 4 + 1, "output_tokens": len(answer) // 4 + 1},
    }


def is_cut_off(text: str) -> bool:
    """Returns whether the model reaches its token limit in the middle of its answer."""
    return "[[cut-off]]" in text


def answer_to(text: str) -> str:
    """Returns the text of the answer; there is none to a text that is refused."""
    if "[[refuse]]" in text:
        return ""
    answer = (
        answer_to_instructions(text)
        or f"Simulated analysis of {len(text.split())} words: {translate(text[:400], target_lang='en')['text']}"
    )
    return answer[: len(answer) // 2] if is_cut_off(text) else answer


def completion(model: str, text: str) -> dict[str, Any]:
    """Builds OpenAI's chat completion."""
    answer = answer_to(text)
    counts = {"prompt_tokens": len(text) // 4 + 1, "completion_tokens": len(answer) // 4 + 1}
    usage = {**counts, "total_tokens": sum(counts.values())}
    message = {"role": "assistant", "content": answer}
    finish_reason = "length" if is_cut_off(text) else "stop"
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
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
            return {**shown, "status": "failed", "error": OPENAI_JOB_ERROR}
    part: dict[str, Any] = {"type": "output_text", "text": answer_to(text), "annotations": []}
    if "[[refuse]]" in text:
        part = {"type": "refusal", "refusal": "this text is not answered here"}
    status = "incomplete" if is_cut_off(text) else "completed"
    details = {"reason": "max_output_tokens"} if is_cut_off(text) else None
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}
    usage = {**state["usage"], "total_tokens": sum(state["usage"].values())}
    return {**shown, "status": status, "incomplete_details": details, "output": [message], "usage": usage}
