"""infra/OPERATIONS.md says what to do about what there is: alarms, programs, names of the cloud, log lines, figures."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra import capacity, cost
from infra.cloud import ALARMS, CLOUD
from shared.settings import from_environment

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "OPERATIONS.md").read_text()
ALARM_ROWS = TEXT.partition("## Alarms")[2].partition("\n## ")[0]


def test_each_alarm_has_a_row_with_what_to_do_and_nothing_else_has() -> None:
    rows = [row.strip("| ").split(" | ") for row in ALARM_ROWS.splitlines() if row.startswith("| ")][1:]
    assert [f"LLM Runs: {row[0]}" for row in rows] == [policy["displayName"] for policy in ALARMS["policies"]]
    assert all(len(row) == 3 and len(row[2]) > 20 for row in rows)


def test_each_program_that_is_named_exists() -> None:
    names = set(re.findall(r"python -m ([\w.]+\w)", TEXT))
    assert {"infra.forget_user", "infra.replay_dead_letters", "infra.cost"} <= names
    assert [name for name in names if find_spec(name) is None] == []


def test_each_name_of_the_cloud_that_a_command_has_exists() -> None:
    services = {name.replace("_", "-") for name in CLOUD["functions"]}
    known = {
        r"pubsub topics \w+ ([\w-]+)": set(CLOUD["topics"]),
        r"pubsub subscriptions \w+ ([\w-]+)": set(CLOUD["subscriptions"]),
        r"tasks queues \w+\s+([\w-]+)": set(CLOUD["queues"]),
        r"scheduler jobs \w+ ([\w-]+)": {CLOUD["sweep"]["name"]},
        r"run services\s+[\w-]+ ([\w-]+)": services,
        r"functions describe ([\w-]+)": set(CLOUD["functions"]),
    }
    for command, names in known.items():
        found = set(re.findall(command, TEXT))
        assert found and found <= names, command


def test_each_log_line_that_is_searched_for_is_written() -> None:
    source = "".join(path.read_text() for path in (ROOT / "shared").rglob("*.py"))
    messages = re.findall(r'jsonPayload\.message="([^"]+)"', TEXT)
    assert messages and all(f'("{message}"' in source for message in messages)


def test_the_figures_are_those_that_the_programs_print() -> None:
    assert cost.table() in TEXT
    assert cost.page_table() in TEXT
    assert capacity.report(capacity.RUNS_A_MINUTE, capacity.SECONDS) in TEXT


def test_the_days_of_backups_are_those_that_are_kept() -> None:
    days = CLOUD["firestore"]["backup_days"]
    assert f"a backup of each of {days} days" in TEXT and f"after {days} days, recovery" in TEXT


def test_a_million_runs_of_a_minute_cost_what_paper_and_pencil_say() -> None:
    """Five checks, on average; the sums of usage cost a write, the durations of one run in eight a write and a read."""
    of = cost.counts_of(60)
    assert (of.checks, of.writes, of.reads, of.deletes) == (5, 7.125, 13.125, 3)
    assert (of.task_operations, of.requests, round(of.instance_seconds, 2)) == (10, 8, 2.0)
    total = 7.125 * 0.9 + 13.125 * 0.3 + 3 * 0.1 + 2000 * 40 / 2**40 * 1e6 + 10 * 0.4 + 8 * 0.4 + 2.0 * 26.5
    assert sum(of.prices().values()) * 1e6 == pytest.approx(total)
    assert f"**{total:.2f}**" in TEXT


def test_limits_come_in_the_order_in_which_they_are_met_and_the_first_is_the_queue() -> None:
    found = capacity.limits(60, 60)
    assert [limit.factor for limit in found] == sorted(limit.factor for limit in found)
    assert found[0].name.startswith("dispatches of the queue") and found[0].factor == pytest.approx(500 / 5)
    assert capacity.limits(120, 60)[0].factor == pytest.approx(250 / 5)


@pytest.mark.parametrize(("writes", "minutes"), [(500, 0), (501, 5), (750, 5), (751, 10), (5000, 30)])
def test_firestore_gets_used_to_half_as_much_again_in_five_minutes(writes: int, minutes: int) -> None:
    assert capacity.ramp_minutes(writes) == minutes


def test_the_defaults_that_the_arithmetic_uses_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAX_OPEN_RUNS", raising=False)
    assert from_environment().limits.open_runs == capacity.MAX_OPEN_RUNS


def test_make_capacity_takes_the_load_that_it_is_given() -> None:
    command = [sys.executable, "-m", "infra.capacity", "600", "10"]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert printed.startswith("600 runs a minute whose LLM works for 10 s") and "| 1,000× | 10,000 |" in printed
