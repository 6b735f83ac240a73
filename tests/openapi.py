"""infra/openapi.yaml for tests: its operations, and whether a value or a whole response is as it says."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft202012Validator, FormatChecker

PATH = Path(__file__).parents[1] / "infra" / "openapi.yaml"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
COMPOSED = {"$ref", "properties", "allOf", "anyOf"}
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML has it, takes a tenth of the time."""


@dataclass(frozen=True)
class Operation:
    path: str
    method: str
    content: Mapping[str, Any]
    """With what its path says of all its methods."""

    @property
    def name(self) -> str:
        return str(self.content["operationId"])

    @property
    def responses(self) -> dict[int, Any]:
        return {int(status): resolved(response) for status, response in self.content["responses"].items()}

    @property
    def parameters(self) -> list[Any]:
        return [resolved(parameter) for parameter in self.content.get("parameters", [])]

    @property
    def body(self) -> Any:
        return self.content.get("requestBody", {}).get("content", {}).get("application/json")


@cache
def document() -> Any:
    """A copy without YAML's shared parts."""
    return json.loads(json.dumps(yaml.load(PATH.read_text(), YAML_LOADER)))


@cache
def operations() -> tuple[Operation, ...]:
    found = []
    for path, item in document()["paths"].items():
        for method in METHODS:
            if method in item:
                parameters = item.get("parameters", []) + item[method].get("parameters", [])
                found.append(Operation(path, method.upper(), {**item[method], "parameters": parameters}))
    return tuple(found)


def resolved(part: Any) -> Any:
    """What a reference to somewhere in the document leads to."""
    while "$ref" in part:
        target = document()
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name.replace("~1", "/").replace("~0", "~")]
        part = target
    return part


def walk(part: Any) -> Iterator[Any]:
    """Every object in it, itself first."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from walk(value)


def check(value: Any, schema: Mapping[str, Any]) -> None:
    """Raises ValidationError; also for a field that is not described, unless the schema says that there may be more."""
    whole = {"allOf": [_closed(schema)], "components": _closed_components(), "unevaluatedProperties": False}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


@cache
def _closed_components() -> Any:
    return {"schemas": {name: _closed(schema) for name, schema in document()["components"]["schemas"].items()}}


def _closed(schema: Any) -> Any:
    """Clients must pass over fields that they do not know; tests must not."""
    copy = json.loads(json.dumps(schema))
    for part in walk(copy):
        for inner in [*_children(part.get("properties")), part.get("items"), part.get("contentSchema")]:
            if isinstance(inner, dict) and COMPOSED & set(inner):
                inner["unevaluatedProperties"] = False
    return copy


def _children(properties: Any) -> list[Any]:
    return list(properties.values()) if isinstance(properties, dict) else []


def check_response(operation: Operation, answer: httpx.Response) -> None:
    """Status, headers, content type and body."""
    described = operation.responses[answer.status_code]
    for name, header in described["headers"].items():
        _check_header(answer.headers.get(name), resolved(header))
    if "content" not in described:
        assert answer.content == b""
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    if media_type == "text/event-stream":
        assert answer.text.startswith("retry: 2000\n\n")
        check_events(answer.text, event_schema(schema))
    else:
        check(answer.json(), schema)


def _check_header(value: str | None, header: Any) -> None:
    if value is None:
        assert not header.get("required", False)
        return
    check(int(value) if header["schema"]["type"] == "integer" else value, header["schema"])


def event_schema(schema: Mapping[str, Any]) -> Any:
    """The schema of one event, from that of the text of a stream."""
    return resolved(schema)["contentSchema"]["items"]


def check_events(text: str, schema: Mapping[str, Any]) -> None:
    """Each event and the JSON in its data."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        event = {name: value for name, _, value in lines if name != "retry"}
        if event:
            check(event, schema)
            content = "Error" if event["event"] == "error" else "Update"
            check(json.loads(event["data"]), {"$ref": f"#/components/schemas/{content}"})


def without_names(path: str) -> str:
    """A path as a route and the document both have it: no last slash, parameters without their names."""
    return re.sub(r"\{\w+\}", "{}", path).rstrip("/")
