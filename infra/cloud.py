"""Prints rows of infra/cloud.json and infra/alarms.json for infra/gcloud.sh, one object a line, its values apart by |.

python -m infra.cloud ROWS, for example: python -m infra.cloud topics
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parent
CLOUD = json.loads((INFRA / "cloud.json").read_text())
ALARMS = json.loads((INFRA / "alarms.json").read_text())
INDEXES = json.loads((INFRA / "firestore.indexes.json").read_text())
Row = tuple[object, ...]


def account_of(function: str) -> str:
    """Returns the id of a function's service account."""
    return f"llm-{function.replace('_', '-')}"


def accounts() -> Iterator[Row]:
    yield from ((account_of(name), f"LLM Runs: the function {name}") for name in CLOUD["functions"])
    yield from ((name, f"LLM Runs: {role}") for role, name in CLOUD["accounts"].items())


def project_roles() -> Iterator[Row]:
    """Yields (account, role) on the whole project; the role of sessions is a name without a path."""
    yield from ((CLOUD["accounts"]["build"], role) for role in CLOUD["build_roles"])
    for name, function in CLOUD["functions"].items():
        yield account_of(name), "roles/datastore.user"
        if function["sessions"]:
            yield account_of(name), CLOUD["session_role"]["id"]


def publishers() -> Iterator[Row]:
    """Yields (topic, account)."""
    for topic, made in CLOUD["topics"].items():
        if made["setting"]:
            yield from (
                (topic, account_of(name)) for name, function in CLOUD["functions"].items() if function["publishes"]
            )


def schedulers() -> Iterator[Row]:
    """Yields (queue, account that creates its tasks)."""
    for queue, made in CLOUD["queues"].items():
        right = made["right"]
        yield from ((queue, account_of(name)) for name, function in CLOUD["functions"].items() if function[right])


def subscriptions() -> Iterator[Row]:
    """Yields (name, topic, service of the function, dead-letter topic or nothing)."""
    for name, made in CLOUD["subscriptions"].items():
        yield name, made["topic"], made["function"].replace("_", "-"), made["dead_letter_topic"] or ""


def queues() -> Iterator[Row]:
    for name, made in CLOUD["queues"].items():
        yield name, made["max_dispatches_per_second"], made["max_concurrent_dispatches"]


def functions() -> Iterator[Row]:
    """Yields (name, service, account, ingress, cpu, memory, concurrency, instances, seconds)."""
    sizes = ("cpu", "memory", "concurrency", "max_instances", "timeout_seconds")
    for name, made in CLOUD["functions"].items():
        ingress = "all" if made["public"] else "internal-only"
        yield name, name.replace("_", "-"), account_of(name), ingress, *(made[size] for size in sizes)


def secret_readers() -> Iterator[Row]:
    """Yields (function, account, the secret that it reads: models for the keys of models, or REDIS_URL)."""
    for name, made in CLOUD["functions"].items():
        if made["calls_llm"]:
            yield name, account_of(name), "models"
        if made["caches"]:
            yield name, account_of(name), "REDIS_URL"


def settings() -> Iterator[Row]:
    """Yields (setting, name of its topic or queue)."""
    for kind in ("topics", "queues"):
        yield from ((made["setting"], name) for name, made in CLOUD[kind].items() if made["setting"])


def indexes() -> Iterator[Row]:
    """Yields (collection, its fields as `gcloud firestore indexes composite list` shows them, gcloud's options)."""
    for index in INDEXES["indexes"]:
        fields = [(field["fieldPath"], field["order"]) for field in index["fields"]]
        shown = ",".join(f"{path}:{order}" for path, order in fields)
        options = " ".join(f"--field-config=field-path={path},order={order.lower()}" for path, order in fields)
        yield index["collectionGroup"], shown, options


def exemptions() -> Iterator[Row]:
    """Yields (collection, field, ttl or nothing)."""
    for field in INDEXES["fieldOverrides"]:
        yield field["collectionGroup"], field["fieldPath"], "ttl" if field.get("ttl") else ""


def metrics() -> Iterator[Row]:
    yield from ((metric["name"], metric["filter"], metric["description"]) for metric in ALARMS["metrics"])


def alarms() -> Iterator[Row]:
    """Yields (title, the whole alarm as JSON)."""
    yield from ((policy["displayName"], json.dumps(policy)) for policy in ALARMS["policies"])


def apis() -> Iterator[Row]:
    yield from ((name,) for name in CLOUD["apis"])


def topics() -> Iterator[Row]:
    yield from ((name,) for name in CLOUD["topics"])


ROWS: dict[str, Callable[[], Iterator[Row]]] = {
    made.__name__: made
    for made in (
        accounts, alarms, apis, exemptions, functions, indexes, metrics, project_roles, publishers, queues, schedulers,
        secret_readers, settings, subscriptions, topics,
    )
}  # fmt: skip


def value_at(path: str) -> Any:
    """Returns a value of cloud.json or alarms.json by its path, such as delivery.max_deliveries."""
    value: Any = {**CLOUD, **ALARMS}
    for name in path.split("."):
        value = value[name]
    return value


if __name__ == "__main__":
    wanted = sys.argv[1]
    if wanted in ROWS:
        for row in ROWS[wanted]():
            print("|".join(map(str, row)))
    else:
        found = value_at(wanted)
        print(found if isinstance(found, str | int) else json.dumps(found))
