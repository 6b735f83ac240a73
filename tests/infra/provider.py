"""Stands in for Terraform's Google provider: the real schema, and a cloud that makes everything it is asked for.

With it, Terraform itself checks names, types and required arguments, and evaluates every expression, without an account
and without a registry. It speaks Terraform's plugin protocol, version 5, over TF_REATTACH_PROVIDERS.
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import msgspec

from tests.infra.provider_schema import Block, ProviderSchema
from tests.infra.wire import Message, decoded, encoded

UNKNOWN = msgspec.msgpack.Ext(0, b"\x00")
LIST = 2
PROJECT_NUMBER = "123456789012"
MAX_BYTES = 256 * 1024 * 1024


class Provider:
    """Answers Terraform's calls. `names` are the resources and data sources that the schema is asked for."""

    def __init__(self, schema: ProviderSchema, *, resources: set[str], data_sources: set[str]) -> None:
        self._resources = {name: found for name in resources if (found := schema.resource(name))}
        self._data_sources = {name: found for name in data_sources if (found := schema.data_source(name))}
        self._provider = schema.provider()

    def GetSchema(self, _: Message) -> Message:
        resources = {name: _schema(block) for name, block in self._resources.items()}
        data_sources = {name: _schema(block) for name, block in self._data_sources.items()}
        maps = {2: resources, 3: data_sources}
        entries = {number: [{1: name, 2: schema} for name, schema in found.items()] for number, found in maps.items()}
        return {1: _schema(self._provider), **entries}

    def PrepareProviderConfig(self, request: Message) -> Message:
        return {1: decoded(request[1][0])}

    def Configure(self, _: Message) -> Message:
        return {}

    def ValidateResourceTypeConfig(self, _: Message) -> Message:
        return {}

    def ValidateDataSourceConfig(self, _: Message) -> Message:
        return {}

    def UpgradeResourceState(self, request: Message) -> Message:
        state = json.loads(decoded(request[3][0])[1][0])
        return {1: {1: msgspec.msgpack.encode(state)}}

    def ReadResource(self, request: Message) -> Message:
        return {1: decoded(request[2][0])}

    def PlanResourceChange(self, request: Message) -> Message:
        block, proposed = self._resources[request[1][0].decode()], _value(request[3])
        if proposed is not None:
            is_new = _value(request[2]) is None
            for name, value in proposed.items():
                if _is_write_only(name):
                    proposed[name] = None
                elif is_new and value is None and name in {*block.computed, "id"}:
                    proposed[name] = UNKNOWN
        return {1: _dynamic(proposed), 5: True}

    def ApplyResourceChange(self, request: Message) -> Message:
        name, planned = request[1][0].decode(), _value(request[3])
        if planned is not None:
            known = {key: value for key, value in planned.items() if value != UNKNOWN}
            types = self._resources[name].types
            made = {key: made_up(name, key, known, types[key]) for key, value in planned.items() if value == UNKNOWN}
            planned.update(made)
        return {1: _dynamic(planned), 4: True}

    def ReadDataSource(self, request: Message) -> Message:
        name, config = request[1][0].decode(), _value(request[2])
        for key, kind in self._data_sources[name].types.items():
            if config.get(key) is None:
                config[key] = PROJECT_NUMBER if key == "number" else made_up(name, key, config, kind)
        return {1: _dynamic(config)}

    def Stop(self, _: Message) -> Message:
        return {}


def made_up(resource: str, key: str, known: dict[str, Any], kind: Any) -> Any:
    """Returns what Google might answer for an attribute that it sets."""
    project = known.get("project") or "project"
    email = f"{known.get('account_id')}@{project}.iam.gserviceaccount.com"
    if key in ("email", "member") and "account_id" in known:
        return email if key == "email" else f"serviceAccount:{email}"
    if kind == "string":
        named = next((known[name] for name in ("name", "secret_id", "role_id", "account_id") if known.get(name)), key)
        return f"projects/{project}/{resource}/{named}" if key in ("id", "name") else f"{named}-{key}"
    if isinstance(kind, list):
        return {} if kind[0] == "map" else []
    return {"number": 1, "bool": False}.get(kind)


def _is_write_only(name: str) -> bool:
    return name.endswith("_wo")


def _schema(block: Block) -> Message:
    return {2: _block(block)}


def _block(block: Block) -> Message:
    attributes = []
    for name, kind in block.types.items():
        attribute: Message = {1: name, 2: json.dumps(kind), 10: _is_write_only(name)}
        attribute[4], attribute[5] = name in block.required, name not in block.required | block.computed
        attribute[6] = name in block.computed or name == "id"
        attributes.append(attribute)
    nested: list[Message] = [
        {1: name, 2: _block(inner), 3: LIST, 4: int(name in block.required), 5: int(name in block.single)}
        for name, inner in block.blocks.items()
        if name != "timeouts"
    ]
    return {2: attributes, 3: nested}


def _value(field: list[bytes]) -> Any:
    return msgspec.msgpack.decode(decoded(field[0])[1][0])


def _dynamic(value: Any) -> Message:
    return {1: msgspec.msgpack.encode(value)}


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def service(self, handler_call_details: Any) -> Any:
        service, _, name = handler_call_details.method.strip("/").partition("/")
        method = getattr(self._provider, name, None)
        if service != "tfplugin5.Provider" or method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, _: encoded(method(decoded(request))))


@contextmanager
def serving(provider: Provider) -> Iterator[dict[str, str]]:
    """Yields the environment variable with which Terraform finds the provider."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", MAX_BYTES)])
    server.add_generic_rpc_handlers((_Calls(provider),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
    plugin = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": address}
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/google": plugin})}
    finally:
        server.stop(grace=None)
