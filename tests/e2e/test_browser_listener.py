"""What a browser may do with runs under infra/firestore.rules: the Firebase SDK in Chromium against the emulator."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page

from tests.e2e.firebase_page import Refused, ask, downloaded_sdk, opened_page
from tests.e2e.system import Cloud
from tests.workers import SharedFolder

OWN = ["user_id", "==", "demo"]
OTHERS = ["user_id", "==", "other"]

REFUSED_READS: dict[str, dict[str, Any]] = {
    "another user's run": {"document": "llm_runs/{others}"},
    "a run that is not there": {"document": "llm_runs/not-there"},
    "another user's list": {"collection": "llm_runs", "where": OTHERS, "limit": 10},
    "a list of two users": {"collection": "llm_runs", "where": ["user_id", "in", ["demo", "other"]], "limit": 10},
    "everybody's list": {"collection": "llm_runs", "limit": 10},
    "a list without a limit": {"collection": "llm_runs", "where": OWN},
    "a list with a limit of 101": {"collection": "llm_runs", "where": OWN, "limit": 101},
    "a list of a collection group": {"group": "llm_runs", "where": OWN, "limit": 10},
    "the parts of an own run": {"collection": "llm_runs/{own}/parts", "limit": 10},
    "the own user record": {"document": "users/demo"},
    "users": {"collection": "users", "limit": 10},
    "organizations": {"collection": "organizations", "limit": 10},
    "models": {"collection": "models", "limit": 10},
    "idempotency keys": {"collection": "idempotency_keys", "limit": 10},
    "dead letters": {"collection": "dead_letters", "limit": 10},
}
REFUSED_WRITES: dict[str, tuple[str, str]] = {
    "setting an own run": ("set", "llm_runs/{own}"),
    "updating an own run": ("update", "llm_runs/{own}"),
    "deleting an own run": ("delete", "llm_runs/{own}"),
    "creating an own run": ("set", "llm_runs/made-by-a-browser"),
    "adding a part to an own run": ("set", "llm_runs/{own}/parts/0001"),
    "changing the own user record": ("update", "users/demo"),
    "creating an idempotency key": ("set", "idempotency_keys/made-by-a-browser"),
}


@pytest.fixture(scope="session")
def sdk(shared_folder: SharedFolder) -> Path:
    return downloaded_sdk(shared_folder.path)


@pytest.fixture(scope="module")
async def page(chromium: Browser, sdk: Path, cloud: Cloud) -> AsyncIterator[Page]:
    """One for all tests: loading the SDK takes longer than a test, and each action has a client of its own."""
    places = {"project": cloud.printed["GOOGLE_CLOUD_PROJECT"], "firestore": cloud.printed["FIRESTORE_EMULATOR_HOST"]}
    page = await opened_page(chromium, sdk, **places)
    yield page
    await page.context.close()


@pytest.fixture(scope="module")
def runs(cloud: Cloud) -> dict[str, str]:
    """A run of the user, and one of somebody else."""
    return {"own": submit(cloud, "hello"), "others": submit(cloud, "hello", user="other")}


def submit(cloud: Cloud, text: str, *, user: str = "demo") -> str:
    with cloud.client(user) as client:
        return str(client.post("/llm_user_runs", json={"input_text": text}).json()["run_uuid"])


def filled_in(wanted: dict[str, Any], runs: dict[str, str]) -> dict[str, Any]:
    return {name: value.format(**runs) if isinstance(value, str) else value for name, value in wanted.items()}


async def test_a_browser_sees_its_run_from_pending_to_completed(page: Page, cloud: Cloud) -> None:
    """On a query that was there before the run, and on the document, by listeners that share no cache."""
    async with AsyncExitStack() as listening:
        latest = {"collection": "llm_runs", "where": OWN, "orderBy": ["created_at", "desc"], "limit": 10}
        query = await listening.enter_async_context(following(page, **latest))
        with queue_held(cloud):
            run_id = submit(cloud, "hello [[slow 1]]")
            await page.wait_for_function("([following, run]) => told(following, run).length", arg=[query, run_id])
            document = await listening.enter_async_context(following(page, document=f"llm_runs/{run_id}"))
        for listener in (query, document):
            await page.wait_for_function("([following, run]) => hasEnded(following, run)", arg=[listener, run_id])
            updates = await page.evaluate("([following, run]) => told(following, run)", [listener, run_id])
            statuses = [status for status, _ in groupby(update["status"] for update in updates)]
            assert statuses == ["pending", "processing", "completed"]
            assert "hallo" in updates[-1]["result"]["text"].lower()


@asynccontextmanager
async def following(page: Page, **wanted: Any) -> AsyncIterator[int]:
    """Listens, as the user, from the server's first word on; the listener's number."""
    number = await ask(page, "follow", user="demo", **wanted)
    yield number
    await ask(page, "unfollow", following=number)


@contextmanager
def queue_held(cloud: Cloud) -> Iterator[None]:
    """Nothing is delivered meanwhile, so what is submitted stays pending until all are listening."""
    project, host = cloud.printed["GOOGLE_CLOUD_PROJECT"], cloud.printed["PUBSUB_EMULATOR_HOST"]
    with httpx.Client(base_url=f"http://{host}/v1/projects/{project}/subscriptions", trust_env=False) as pubsub:
        push = pubsub.get("/process-run").raise_for_status().json()["pushConfig"]
        pubsub.post("/process-run:modifyPushConfig", json={"pushConfig": {}}).raise_for_status()
        try:
            yield
        finally:
            pubsub.post("/process-run:modifyPushConfig", json={"pushConfig": push}).raise_for_status()


async def test_a_browser_may_read_its_own_runs_a_hundred_at_a_time(page: Page, runs: dict[str, str]) -> None:
    assert await ask(page, "read", user="demo", document=f"llm_runs/{runs['own']}") == [runs["own"]]
    listed = await ask(page, "read", user="demo", collection="llm_runs", where=OWN, limit=100)
    assert runs["own"] in listed and runs["others"] not in listed
    assert await ask(page, "read", user="other", collection="llm_runs", where=OTHERS, limit=100)


@pytest.mark.parametrize("wanted", REFUSED_READS.values(), ids=REFUSED_READS)
async def test_a_browser_may_read_nothing_else(page: Page, runs: dict[str, str], wanted: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="permission-denied"):
        await ask(page, "read", user="demo", **filled_in(wanted, runs))


@pytest.mark.parametrize("owner", [OWN, OTHERS], ids=["own", "another user's"])
async def test_a_browser_may_not_count_runs_without_a_limit(page: Page, runs: dict[str, str], owner: list[str]) -> None:
    with pytest.raises(Refused, match="permission-denied"):
        await ask(page, "count", user="demo", collection="llm_runs", where=owner)


@pytest.mark.parametrize(("action", "document"), REFUSED_WRITES.values(), ids=REFUSED_WRITES)
async def test_a_browser_may_write_nothing(page: Page, runs: dict[str, str], action: str, document: str) -> None:
    fields = {"user_id": "demo", "status": "completed"}
    with pytest.raises(Refused, match="permission-denied"):
        await ask(page, action, user="demo", document=document.format(**runs), fields=fields)


@pytest.mark.parametrize(
    "wanted",
    [{"document": "llm_runs/{own}"}, {"collection": "llm_runs", "where": OWN, "limit": 10}],
    ids=["run", "list"],
)
async def test_a_browser_without_a_user_may_read_nothing(
    page: Page, runs: dict[str, str], wanted: dict[str, Any]
) -> None:
    with pytest.raises(Refused, match="permission-denied"):
        await ask(page, "read", user=None, **filled_in(wanted, runs))
