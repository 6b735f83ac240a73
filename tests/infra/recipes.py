"""The gcloud commands that the operators' documents show, outside the programs that tests/e2e/test_recipes.py runs."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.infra.google_apis import PROJECT

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("infra/OPERATIONS.md", "infra/README.md", "infra/terraform/backend.tf.example")
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
STANDS_FOR = {
    "BACKUP": f"projects/{PROJECT}/locations/eur3/backups/daily",
    "REVISION=": "process-run-00001-abc=",
    "BUCKET": "a-bucket",
    "gs://PROJECT": f"gs://{PROJECT}",
    "=REGION": "=$REGION",
    "PROJECT/traces": f"{PROJECT}/traces",
    "my-project": PROJECT,
}
"""{word of a document: what the reader puts there}"""
NOT_TRIED = ("gcloud auth application-default login", "gcloud config set", "gcloud functions call")
"""The first asks a person, the second changes the reader's own settings, and the third is named and not called."""
VARIABLES = {"RUN": "6b1f2c3d-0000-4000-8000-000000000000", "KEY": "a-key"}


def commands() -> list[str]:
    """Returns every line of a shell that calls gcloud, with the placeholders filled in, each once."""
    found = {line: None for name in DOCUMENTS for line in _lines((ROOT / name).read_text())}
    return [line for line in found if not line.startswith(NOT_TRIED)]


def _lines(text: str) -> Iterator[str]:
    text = FENCED.sub("", text)
    indented = re.findall(r"^(?:#)?     *(.*\bgcloud (?:.*\\\n)*.*)$", text, re.MULTILINE)
    spans = re.findall(r"`([^`]*\bgcloud [^`]*)`", re.sub(r"\n(?!\n)\s*", " ", text))
    for line in [*(re.sub(r"\\\n#?", " ", line) for line in indented), *spans]:
        if re.search(r"(^|[|(] ?)gcloud [a-z]+ [a-z]", line):
            for word, meaning in STANDS_FOR.items():
                line = re.sub(rf"\b{re.escape(word)}" if word[0].isalpha() else re.escape(word), meaning, line)
            yield re.sub(r"^curl .*\$\((.*)\).*", r"\1", line.strip())
