"""The README's programs that follow a stream, run as they stand there while the server is killed and started again."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from infra.local.emulators.ports import reserved_port
from tests.e2e.readme import program_with
from tests.e2e.system import System

SLOW = {"input_text": "hello [[slow 5]]"}


@pytest.fixture
def killable(data_dir: Path) -> Iterator[System]:
    """A system on the same port after each start, which serves a page with the README's program for browsers."""
    public = data_dir.parent / "public"
    public.mkdir()
    page = f"<!doctype html><title>A page</title><script>{program_with('new EventSource')}</script>"
    (public / "page.html").write_text(page)
    with reserved_port() as port:
        system = System(data_dir, "--public", str(public), PORT=str(port))
        yield system
        assert system.stop() == 0


def submit(system: System) -> str:
    with system.client() as client:
        return str(client.post("/llm_user_runs", json=SLOW).json()["run_uuid"])


def stored(system: System, run_id: str) -> list[tuple[int, str]]:
    """Returns number and type of every event of the run."""
    with system.client() as client, client.stream("GET", f"/llm_user_runs/{run_id}/stream") as answer:
        lines = [line.partition(": ")[2] for line in answer.iter_lines() if line.startswith(("id: ", "event: "))]
    return list(zip(map(int, lines[::2]), lines[1::2], strict=True))


def test_the_python_program_prints_each_update_once(killable: System, tmp_path: Path) -> None:
    program = tmp_path / "follow.py"
    program.write_text(program_with("httpx.stream("))
    run_id = submit(killable)
    environment = {"URL": killable.url, "TOKEN": killable.token(), "NO_PROXY": "*"}
    command = [sys.executable, str(program), run_id]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        killable.kill()
        killable.start()
        printed = first + process.stdout.read()
    assert process.returncode == 0
    assert printed.splitlines() == [f"{number} {kind}" for number, kind in stored(killable, run_id)]
    assert printed.splitlines()[-1].endswith("run.completed")


async def test_the_browsers_program_gets_each_update_once(killable: System, chromium: Browser) -> None:
    page = await chromium.new_page()
    await page.goto(f"{killable.url}/page.html")
    headers = {"Authorization": f"Bearer {killable.token()}"}
    await page.evaluate("headers => fetch('/api/auth/session/', {method: 'POST', headers})", headers)
    run_id = await asyncio.to_thread(submit, killable)
    await page.evaluate("id => { window.heard = []; follow(id, (update) => heard.push(update)); }", run_id)
    await page.wait_for_function("heard.length > 0")
    await asyncio.to_thread(killable.kill)
    await asyncio.to_thread(killable.start)
    await page.wait_for_function("heard.at(-1).type === 'run.completed'", timeout=60_000)
    heard = await page.evaluate("heard.map((update) => [update.sequence, update.type])")
    assert [tuple(update) for update in heard] == await asyncio.to_thread(stored, killable, run_id)
    await page.close()


def test_the_programs_are_as_short_as_the_readme_says() -> None:
    for words in ("new EventSource", "httpx.stream("):
        lines = [line for line in program_with(words).splitlines() if line]
        assert len(lines) <= 20, words
