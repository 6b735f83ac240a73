"""The small ports of one instance: directory, result cache, dead letters, and who calls."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.adapters.storage.document_directory import DocumentDirectory
from shared.domain.budget import Balance
from shared.domain.dead_letter import DeadLetter
from shared.domain.durations import MAX_JOBS, Durations
from shared.domain.tally import Tally
from shared.domain.usage_sums import UsageKey, UsageSum
from shared.errors import CacheUnavailable, StoreUnavailable
from shared.ports import Accepted, Identity, RunPage, RunPosition
from tests.simulation.calls import Calls
from tests.simulation.instance import EPOCH

if TYPE_CHECKING:
    from tests.simulation.world import World

RUN_PRICE = 0.01
"""What one attempt of a run without a model costs acme, in USD."""
ORGANIZATIONS: dict[str, dict[str, Any]] = {
    "acme": {
        "name": "Acme",
        "deployment": "europe",
        "source_lang": "en",
        "target_lang": "de",
        "prices": {"job": RUN_PRICE},
    },
    "acme-client": {"name": "Acme's client", "deployment": "europe", "parent_id": "acme"},
    "globex": {"name": "Globex", "deployment": "tokyo", "source_lang": "en", "target_lang": "ja"},
    "initech": {
        "name": "Initech",
        "deployment": "europe",
        "target_lang": "de",
        "translation_model": "chat-model",
        "style_guide": "brief",
    },
}
USERS = {
    "ann": {"organization_id": "acme", "groups": ["users", "admins"]},
    "bob": {"organization_id": "acme", "groups": ["users"]},
    "eve": {"organization_id": "globex", "groups": ["users"]},
    "kim": {"organization_id": "initech", "groups": ["users"]},
}
_MODEL: dict[str, Any] = {
    "provider": "simulated",
    "upstream_model": "m",
    "deployment": "default",
    "prices": {"input": 1, "output": 2},
    "max_output_tokens": 2000,
}
MODELS = {
    "jobs-model": {**_MODEL, "name": "Jobs", "api": "llm_jobs"},
    "chat-model": {**_MODEL, "name": "Chat", "api": "openai_chat"},
    "unset-model": {**_MODEL, "name": "Unset", "api": "openai_chat", "deployment": "atlantis"},
    "jobs-model-first": {
        **_MODEL,
        "name": "Jobs",
        "api": "llm_jobs",
        "fallback": ["unset-model", "chat-model", "jobs-model"],
    },
    "chat-model-first": {**_MODEL, "name": "Chat", "api": "openai_chat", "fallback": ["jobs-model", "chat-model"]},
}
Documents = Mapping[str, Mapping[str, Any]]
DOCUMENTS: Mapping[str, Documents] = {
    "organizations": ORGANIZATIONS,
    "users": USERS,
    "models": MODELS,
    "style_guides": {"brief": {"organization_id": "initech", "text": "Be brief."}},
}


class SimulatedDirectory(DocumentDirectory):
    def __init__(self, calls: Calls, *, day_usd: float | None) -> None:
        """`day_usd` is what acme's runs may cost in a day."""
        self._calls = calls
        acme = {**ORGANIZATIONS["acme"], "budget": {"day_usd": day_usd}}
        self._documents: dict[str, Documents] = {**DOCUMENTS, "organizations": {**ORGANIZATIONS, "acme": acme}}

    async def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        raise AssertionError("the directory of a simulation does not change")

    async def _collection(self, collection: str) -> Mapping[str, Mapping[str, Any]]:
        return self._documents[collection]

    async def _delete(self, collection: str, document_id: str) -> None:
        raise AssertionError("the directory of a simulation does not change")

    async def _document(self, collection: str, document_id: str) -> dict[str, Any] | None:
        def find() -> dict[str, Any] | None:
            found = self._documents[collection].get(document_id)
            return None if found is None else dict(found)

        return await self._calls.call("directory.get", find, error=StoreUnavailable)


class SimulatedResultCache:
    """Shared by all instances, as Redis is."""

    def __init__(self, world: "World", calls: Calls) -> None:
        self._world = world
        self._calls = calls

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        until = EPOCH + timedelta(seconds=self._world.now) + keep_for
        await self._call("put", key, lambda: self._world.cache.__setitem__(key, (until, text)))

    async def get(self, key: str) -> str | None:
        def find() -> str | None:
            entry: tuple[datetime, str] | None = self._world.cache.get(key)
            return entry[1] if entry else None

        text: str | None = await self._call("get", key, find)
        return text

    async def delete(self, key: str) -> None:
        await self._call("delete", key, lambda: self._world.cache.pop(key, None))

    async def _call(self, name: str, key: str, effect: Any) -> Any:
        return await self._calls.call(f"cache.{name}", effect, error=CacheUnavailable, about=key.partition(":")[2])


class SimulatedDeadLetters:
    def __init__(self, world: "World", calls: Calls) -> None:
        self._world = world
        self._calls = calls

    async def keep(
        self, *, message_id: str, source: str, reason: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        letter = (source, reason, data)
        await self._calls.call(
            "letters.keep", lambda: self._world.dead_letters.setdefault(message_id, letter), error=StoreUnavailable
        )

    async def kept(self, *, after: DeadLetter | None = None, limit: int) -> Sequence[DeadLetter]:
        raise AssertionError("no operator replays dead letters in the simulation")

    async def get(self, *, source: str, message_id: str) -> DeadLetter | None:
        raise AssertionError("no operator replays dead letters in the simulation")

    async def remove(self, letter: DeadLetter) -> None:
        raise AssertionError("no operator replays dead letters in the simulation")


class SimulatedDurationStore:
    """Shared by all instances."""

    def __init__(self, world: "World", calls: Calls) -> None:
        self._world = world
        self._calls = calls

    async def known(self, key: str) -> Durations:
        def find() -> Durations:
            return self._world.durations.get(key, Durations())

        return await self._calls.call("durations.known", find, error=StoreUnavailable)

    async def add(self, key: str, durations: Durations) -> None:
        def update() -> None:
            stored = self._world.durations.get(key, Durations())
            self._world.durations[key] = stored.updated(durations, most=MAX_JOBS)

        await self._calls.call("durations.add", update, error=StoreUnavailable)


class NoReports:
    """No administrator of the simulation asks for usage; the invariants look at the sums themselves."""

    async def sums(self, tenant_id: str, *, first: date, last: date) -> Sequence[tuple[UsageKey, UsageSum]]:
        raise AssertionError("nobody asks for reports in a simulation")

    async def of_user(self, user_id: str) -> Sequence[tuple[UsageKey, UsageSum]]:
        raise AssertionError("nobody asks for reports in a simulation")

    async def tallies(
        self, tenant_id: str, *, first: date, last: date, user_id: str | None = None
    ) -> Sequence[tuple[UsageKey, Tally]]:
        raise AssertionError("nobody asks for reports in a simulation")

    async def forget_user(self, user_id: str) -> None:
        raise AssertionError("nobody asks for reports in a simulation")

    async def accepted(self, wanted: Accepted, *, after: RunPosition | None = None, limit: int) -> RunPage:
        raise AssertionError("nobody asks for reports in a simulation")

    async def count_open(self, tenant_id: str) -> int:
        raise AssertionError("nobody asks for reports in a simulation")

    async def balances(self, tenant_id: str, day: date) -> tuple[Balance, Balance]:
        raise AssertionError("nobody asks for reports in a simulation")


class NoTokens:
    """Clients of the simulation are known by their profile; nobody shows a token."""

    async def verify(self, token: str) -> Identity:
        raise AssertionError("nobody shows a token in a simulation")
