"""Reads answers that the model's token limit has ended, so that the half of a JSON object is no success.

A text is still of use, and says that it is cut off. The beginning of a JSON object, as models write it whose answer has
a schema, is of none; neither is an answer without text, as models give that have thought until their limit.
"""

from shared.adapters.llm.json_body import parse_json
from shared.domain.result import Result
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused


def read_cut_off(text: str) -> Result:
    """Returns the result of an answer that the token limit has ended. Raises LlmRefused, billed, when it is no use."""
    begun = text.lstrip()
    if not begun or (begun[0] == "{" and parse_json(text.encode()) is None):
        raise too_long_an_answer()
    return Result(text=text, cut_off=True)


def too_long_an_answer() -> LlmRefused:
    message = "The answer was longer than the model may write; ask for less, or raise max_output_tokens."
    return LlmRefused(message, code=ErrorCode.LLM_FAILED, may_be_billed=True)
