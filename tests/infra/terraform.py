"""Reads infra/terraform without Terraform: resources, variables and outputs as plain values."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

FOLDER = Path(__file__).parents[2] / "infra" / "terraform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A literal is its value. An expression is a text such as ${var.project}, and a template one with ${…} in it.

    A block is a list of dicts, under its own name whether it is dynamic or not.
    """

    resources: dict[tuple[str, str], dict[str, Any]]
    """{(type, name): arguments and blocks}"""
    data: dict[tuple[str, str], dict[str, Any]]
    variables: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    locals: dict[str, Any]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Returns {name: resource} of one type of resources."""
        return {name: body for (found, name), body in self.resources.items() if found == kind}


@cache
def configuration() -> Configuration:
    found: dict[str, list[Any]] = {}
    for path in sorted(FOLDER.glob("*.tf")):
        with path.open() as file:
            for kind, blocks in _plain(hcl2.load(file)).items():
                found.setdefault(kind, []).extend(blocks)
    return Configuration(
        resources=_labelled_twice(found["resource"]),
        data=_labelled_twice(found["data"]),
        variables={name: body for block in found["variable"] for name, body in block.items()},
        outputs={name: body for block in found["output"] for name, body in block.items()},
        locals={name: value for block in found["locals"] for name, value in block.items()},
    )


def _labelled_twice(blocks: list[Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(kind, name): body for block in blocks for kind, named in block.items() for name, body in named.items()}


def _plain(value: Any) -> Any:
    """Removes comments, marks and the quotes of texts, and replaces each dynamic block by its content."""
    if isinstance(value, dict):
        plain = {_unquoted(key): _plain(item) for key, item in value.items() if not key.startswith("__")}
        for dynamic in plain.pop("dynamic", []):
            for name, body in dynamic.items():
                plain.setdefault(name, []).extend(body["content"])
        return plain
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _unquoted(value) if isinstance(value, str) else value


def _unquoted(text: str) -> str:
    quoted = re.fullmatch(r'"(.*)"', text, re.DOTALL)
    return quoted[1].replace('\\"', '"') if quoted else text
