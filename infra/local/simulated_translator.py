"""Answers the instructions with which a chat model translates, as a model would that keeps to them.

A text with `[[bad-translation]]` is first translated with faults, and well when its faults are sent back.
"""

import json
import re

from infra.local.translation import translate

_SECTION = re.compile(r"<<<(\w+) (\w+)\n(.*?)\n\1 \2>>>", re.DOTALL)


def answer_to_instructions(text: str) -> str | None:
    """Returns the JSON that the instructions ask for; None when the text has no instructions to translate."""
    sections = {name: body for name, _, body in _SECTION.findall(text)}
    if not {"languages", "source"} <= set(sections):
        return None
    source = sections["source"]
    output = translate(source, target_lang=json.loads(sections["languages"])["target"])
    required = [term for term in json.loads(sections.get("terms", "[]")) if term not in output["term_pairs"]]
    translation = f"{output['text']} ({', '.join(term['target'] for term in required)})" if required else output["text"]
    if "[[bad-translation]]" in source and "findings" not in sections:
        translation = f"{re.sub(r'[0-9]', '', translation)} <b>"
    pairs = [*output["term_pairs"], *required]
    answer = {"translation": translation, "memory_flags": output["memory_flags"], "term_pairs": pairs}
    return json.dumps(answer, ensure_ascii=False)
