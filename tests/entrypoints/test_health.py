"""Every function answers a health check by itself: no credentials, no back end, and no probe becomes an event."""

import pytest

import main
from shared import wiring
from tests.entrypoints.conftest import Functions


@pytest.mark.parametrize("path", ["/health", "/health/", "/healthz", "/health?from=probe"])
@pytest.mark.parametrize("name", main.__all__)
async def test_health_needs_no_back_end_and_no_credentials(functions: Functions, name: str, path: str) -> None:
    wiring.close()
    for file in functions.data_dir.glob("runs.db*"):
        file.unlink()
    async with functions.client(name, user=None) as client:
        answer = await client.get(path)
        head = await client.head(path)
    assert (answer.status_code, answer.json()) == (200, {"success": True, "status": "ok"})
    assert (head.status_code, head.headers["content-length"]) == (200, answer.headers["content-length"])
    assert answer.headers["cache-control"] == head.headers["cache-control"] == "private, no-store"
    assert not (functions.data_dir / "runs.db").exists()


@pytest.mark.parametrize("name", ["process_run", "recheck_run", "bury_run"])
async def test_posts_to_health_and_paths_below_it_are_events(functions: Functions, name: str) -> None:
    """An event is one whatever its path, and so is what is asked elsewhere."""
    async with functions.client(name, user=None) as client:
        assert (await client.post("/health", json={"odd": 1})).status_code == 204
        assert (await client.get("/health/deep")).status_code == 204
    assert await functions.count("dead_letters") == 2
