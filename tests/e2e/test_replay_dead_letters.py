"""The program infra/replay_dead_letters.py, as an operator calls it beside a running system."""

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from tests.e2e.system import ROOT, System

CHANGED_NOTHING = "Nothing was changed; --replay does it."


def replay(system: System, *options: str) -> list[str]:
    environment = {"PATH": "/usr/bin:/bin", "DATA_DIR": str(system.data_dir)}
    command = [sys.executable, "-m", "infra.replay_dead_letters", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def keep(system: System, message_id: str, data: str) -> None:
    with closing(SqliteBackend(system.data_dir / "runs.db", SystemClock())) as backend:
        letters = backend.dead_letters
        asyncio.run(
            letters.keep(message_id=message_id, source="process-run", reason="undeliverable", data=data, attributes={})
        )


def test_letters_are_listed_replayed_and_removed_unless_they_name_no_run(data_dir: Path) -> None:
    system = System(data_dir)
    assert replay(system) == ["no dead letters"]
    with system.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[never]]"}).json()["run_uuid"]
    keep(system, "1", run_id)
    keep(system, "2", "rubbish")
    for _ in range(2):
        [letter, poison, summary, hint] = replay(system)
        assert run_id in letter and letter.endswith("open: send it again") and "it stays" in poison
        assert summary.startswith("1 × ") and hint == CHANGED_NOTHING
    [letter, poison, _] = replay(system, "--replay")
    assert run_id in letter and "it stays" in poison
    [poison, summary] = replay(system, "--replay")
    assert "it stays" in poison and summary == "1 × the message names no run: it stays"
    assert system.stop() == 0
