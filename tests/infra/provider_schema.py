"""Reads the schema of Terraform's Google provider from the package cdktf-cdktf-provider-google.

The package carries the provider's schema as a jsii assembly: an interface per resource and block, whose comments link
each property to the provider's documentation and so to its name in Terraform.
"""

import json
import re
import tarfile
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

LINK = re.compile(r"google/[\d.]+/docs/(resources|data-sources)/(\w+)#(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What a resource, a data source or a block within them may have. A type is in Terraform's notation for JSON."""

    types: dict[str, Any] = field(default_factory=dict)
    """{argument: its type}"""
    blocks: dict[str, "Block"] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    """Arguments and blocks that must be given."""
    single: frozenset[str] = frozenset()
    """Blocks that may be given once only."""
    computed: frozenset[str] = frozenset()
    """Attributes that the provider sets and nobody may give."""


class ProviderSchema:
    """The resources and data sources of the provider, by the name that Terraform gives them."""

    def __init__(self, assembly: dict[str, Any]) -> None:
        self._types: dict[str, Any] = assembly["types"]
        self.version = self._version()

    @classmethod
    def from_wheel(cls, path: Path) -> "ProviderSchema":
        """Reads the package's file without installing it."""
        with zipfile.ZipFile(path) as wheel:
            [name] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
            with wheel.open(name) as archive, tarfile.open(fileobj=archive, mode="r:gz") as files:
                member = files.extractfile("package/.jsii")
                assert member is not None
                return cls(json.load(member))

    @cached_property
    def _configs(self) -> dict[tuple[str, str], str]:
        """{(resources or data-sources, name of the documentation's page): name of the jsii interface}."""
        found: dict[tuple[str, str], str] = {}
        for name, kind in self._types.items():
            if name.endswith("Config") and "cdktf.TerraformMetaArguments" in kind.get("interfaces", []):
                for link in (_link(item) for item in kind.get("properties", [])):
                    if link is not None:
                        found[link[1], link[2]] = name
                        break
        return found

    def resource(self, name: str) -> Block | None:
        """Returns the schema of a resource such as google_pubsub_topic; None when the provider has none."""
        return self._named("resources", name)

    def data_source(self, name: str) -> Block | None:
        return self._named("data-sources", name)

    def provider(self) -> Block:
        """Returns the schema of the provider's own block."""
        [config] = [name for name in self._types if name.endswith(".provider.GoogleProviderConfig")]
        items = self._types[config]["properties"]
        return Block(types={_snake_case(item["name"]): self._type(item["type"]) for item in items})

    def _named(self, kind: str, name: str) -> Block | None:
        config = self._configs.get((kind, name.removeprefix("google_")))
        return None if config is None else self._block(config, computed_of=config.removesuffix("Config"))

    def _version(self) -> str:
        for kind in self._types.values():
            for item in kind.get("properties", []):
                if found := re.search(r"hashicorp/google/([\d.]+)/docs", json.dumps(item.get("docs", {}))):
                    return found[1]
        raise ValueError("the assembly names no version")

    def _block(self, interface: str, computed_of: str | None = None) -> Block:
        types: dict[str, Any] = {}
        blocks: dict[str, Block] = {}
        required, single = set(), set()
        for item in self._types[interface].get("properties", []):
            link = _link(item)
            if link is None:
                continue
            name, nested, repeated = link[3], self._nested(item["type"]), "array" in json.dumps(item["type"])
            if not item.get("optional"):
                required.add(name)
            if nested is not None and (_is_block(item, name) or name == "timeouts"):
                blocks[name] = self._block(nested)
                if not repeated:
                    single.add(name)
            else:
                types[name] = self._type(item["type"])
        computed = self._computed(computed_of, {*types, *blocks}) if computed_of else {}
        return Block(
            types={**types, **computed},
            blocks=blocks,
            required=frozenset(required),
            single=frozenset(single),
            computed=frozenset(computed),
        )

    def _computed(self, resource: str, given: set[str]) -> dict[str, Any]:
        """Returns {attribute: type} of what only the provider sets: properties of the class that nobody may give."""
        found = {}
        for item in self._types[resource].get("properties", []):
            name = _snake_case(item["name"])
            of_cdktf = item.get("static") or item.get("overrides") or not item.get("immutable")
            if not of_cdktf and name not in given and not name.endswith("_input") and name.removesuffix("_input"):
                found[name] = self._type(item["type"])
        return found

    def _nested(self, kind: dict[str, Any]) -> str | None:
        """Returns the interface that the type is, or is a list of; None for the type of an argument."""
        if name := kind.get("fqn"):
            return str(name) if name in self._types and not name.endswith("List") else None
        inner = [*kind.get("union", {}).get("types", []), kind.get("collection", {}).get("elementtype", {})]
        return next((found for part in inner if part and (found := self._nested(part))), None)

    def _type(self, kind: dict[str, Any]) -> Any:
        """Returns the type in Terraform's notation: "string", ["list", "string"]; "dynamic" where jsii hides it."""
        if primitive := kind.get("primitive"):
            return {"boolean": "bool"}.get(primitive, primitive) if primitive != "any" else "dynamic"
        if collection := kind.get("collection"):
            element = self._type(collection["elementtype"])
            return [{"array": "list"}.get(collection["kind"], collection["kind"]), element]
        if union := kind.get("union"):
            return next(
                (self._type(part) for part in union["types"] if part.get("fqn") != "cdktf.IResolvable"), "dynamic"
            )
        return "dynamic"


def _link(item: dict[str, Any]) -> "re.Match[str] | None":
    return LINK.search(json.dumps(item.get("docs", {})))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", name)


def _is_block(item: dict[str, Any], name: str) -> bool:
    return str(item["docs"].get("summary", "")) == f"{name} block."
