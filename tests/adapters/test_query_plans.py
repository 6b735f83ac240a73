"""Every statement of the SQLite adapters finds its rows by an index, so that no list grows slower with the table.

The test calls all of the adapters and asks SQLite how it ran each statement: https://sqlite.org/eqp.html
"""

import ast
import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.sqlite import database
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import Ended
from shared.domain.bill import Bill
from shared.domain.budget import Budget
from shared.domain.channel import Channel
from shared.domain.dead_letter import DeadLetter
from shared.domain.durations import Durations
from shared.domain.erasure import erased
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits
from shared.domain.recheck_plan import Recheck
from shared.domain.result import Result, Usage
from shared.domain.run import SHARDS
from shared.domain.status import USER_RUN_KINDS, Kind, Lane, Status
from shared.domain.webhook import rotated
from shared.domain.webhook_delivery import DeliveryTask
from shared.ports import Accepted, DeliveryPosition, RunFilter, RunPosition
from tests.contract.runs import NOW, a_run
from tests.contract.test_webhook_store import a_delivery

ADAPTERS = sorted(Path(database.__file__).parent.glob("*.py"))
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")
ONCE_AT_THE_START = "WHERE deliveries > 0 AND deliver_at >"
"""Releases the leases of a process that has ended, and reads each message and task that waits."""
POSITION = RunPosition(at=NOW, run_id="r")


async def traced() -> set[str]:
    """Returns the statements that ran while all methods of all adapters were called."""
    sqlite = SqliteBackend(":memory:", SystemClock())
    statements: set[str] = set()
    await sqlite.database.read(lambda connection: connection.set_trace_callback(statements.add))
    await use_store(sqlite)
    await use_other_adapters(sqlite)
    await use_deliveries(sqlite)
    await use_webhooks(sqlite)
    sqlite.close()
    return {statement for statement in statements if statement.startswith(VERBS)}


async def use_store(sqlite: SqliteBackend) -> None:
    large = a_run(input={"full_input": "x" * 40_000}, bill=Bill(reserved_usd=1.0))
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=large.id, expires_at=NOW)
    budget = Budget(day=10**12, month=10**12)
    limits = Limits(open_runs=9, submits_a_minute=9, budget=budget)
    await sqlite.store.create(large, idempotency=record, limits=limits)
    stored = await sqlite.store.get(large.id)
    await sqlite.store.load_input(stored)
    done = stored.completed(NOW, result=Result(text="x" * 300_000), usage=Usage(), checks=1)
    await sqlite.store.erase(erased(await sqlite.store.save(done), NOW))
    await sqlite.store.get(large.id)
    for wanted, after in product(filters(), (None, POSITION)):
        await sqlite.store.list_runs(wanted, limit=9, offset=1, after=after)
        await sqlite.store.count_runs(wanted, at_most=9)
    for shards, terminal, before, last in product(([1], range(SHARDS)), (False, True), (None, NOW), (None, POSITION)):
        await sqlite.store.due_runs(shards, terminal=terminal, before=before, after=last, limit=9)
    for tenant_id, last in product((None, "acme"), (None, POSITION)):
        await sqlite.store.changed_runs(Channel(name="c", tenant_id=tenant_id), since=NOW, after=last, limit=9)
    await sqlite.store.forget(large)
    await sqlite.store.forget_expired(NOW, limit=9)


def filters() -> Iterator[RunFilter]:
    kinds = ((Kind.JOB,), USER_RUN_KINDS, tuple(Kind))
    for each in product(kinds, (None, Status.FAILED), (None, "review_colab"), (None, "q")):
        yield RunFilter(user_id="u", kinds=each[0], status=each[1], job_type=each[2], question_id=each[3])


async def use_other_adapters(sqlite: SqliteBackend) -> None:
    letter = DeadLetter(message_id="m", source="s", reason="r", data="", attributes={}, kept_at=NOW)
    await sqlite.dead_letters.keep(message_id="m", source="s", reason="r", data="", attributes={})
    await sqlite.dead_letters.kept(after=letter, limit=9)
    await sqlite.dead_letters.remove(letter)
    await sqlite.directory.put("users", "u", {"organization_id": "acme"})
    await sqlite.directory.profile("u")
    await sqlite.directory.models()
    await sqlite.directory.forget_profile("u")
    await sqlite.durations.add("key", await sqlite.durations.known("key") or Durations())
    await sqlite.ended_sessions.end("session", expires_at=NOW)
    await sqlite.ended_sessions.has_ended("session")
    await sqlite.usage.sums("acme", first=NOW.date(), last=NOW.date())
    await sqlite.usage.tallies("acme", first=NOW.date(), last=NOW.date(), user_id="demo")
    await sqlite.usage.forget_user("demo")
    for owner in ({"user_id": "demo"}, {"tenant_id": "acme"}):
        wanted = Accepted(since=NOW, until=NOW, status=Status.FAILED, **owner)
        await sqlite.reports.accepted(wanted, after=POSITION, limit=9)
    await sqlite.reports.count_open("acme")
    await sqlite.reports.balances("acme", NOW.date())
    await sqlite.watcher._database.data_version()


async def use_deliveries(sqlite: SqliteBackend) -> None:
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    await sqlite.scheduler.schedule(Recheck(run_id="r", attempt=1, sequence="1"), at=NOW, lane=Lane.SHORT)
    later = (NOW + timedelta(days=9000)).timestamp()
    exchange = partial(sqlite.deliveries.exchange, topics={"llm-runs": 9}, queues={"rechecks": 9}, now=later, lease=9)
    leased = await exchange([])
    [message], [task] = leased.messages["llm-runs"], leased.tasks["rechecks"]
    await exchange([Ended(row=message, again_at=later + 1), Ended(row=task, again_at=later + 1)])
    await sqlite.deliveries.release_leases(now=0)
    await sqlite.deliveries.move_to_dead_letters(message, now=later, attributes={})
    await exchange([Ended(row=message), Ended(row=task)])
    await sqlite.deliveries.delete_expired_names(now=later)


async def use_webhooks(sqlite: SqliteBackend) -> None:
    webhooks, delivery = sqlite.webhooks, a_delivery()
    await webhooks.organization("acme")
    await webhooks.change("acme", lambda known: replace(known, secrets=rotated((), "whsec_bmV3", NOW)))
    await webhooks.add(delivery)
    await webhooks.save(await webhooks.delivery(delivery.id) or delivery)
    await webhooks.chain(delivery)
    for shards in ([1], range(SHARDS)):
        await webhooks.due(shards, before=NOW, limit=9)
    for after in (None, DeliveryPosition(at=NOW, delivery_id="d")):
        await webhooks.page("acme", "hook", limit=9, after=after)
    await webhooks.of_run("r")
    await webhooks.forget_run("r")
    await sqlite.webhook_scheduler.schedule(DeliveryTask(delivery_id="d", turn=1), at=NOW)


def written() -> Iterator[str]:
    """Yields how each statement begins that stands in the source, up to its first value."""
    for path in ADAPTERS:
        if path.name == "migrations.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
            if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value.startswith(VERBS):
                yield text.value.partition("?")[0]


def problems(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Returns the steps of the plan that read a whole table or sort. A scan of a subquery reads only its own rows."""
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    tables = "|".join(name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"))
    slow = re.compile(rf"SCAN ({tables})\b|TEMP B-TREE")
    return [step for step in steps if slow.search(step)]


@pytest.fixture
def empty() -> Iterator[sqlite3.Connection]:
    connection = database.connect(":memory:", 1)
    yield connection
    connection.close()


async def test_no_statement_reads_a_whole_table_or_sorts(empty: sqlite3.Connection) -> None:
    slow = {statement: found for statement in await traced() if (found := problems(empty, statement))}
    assert [statement for statement in slow if ONCE_AT_THE_START not in statement] == []


async def test_the_statements_of_lists_and_totals_read_indexes_only_until_the_page_is_full(
    empty: sqlite3.Connection,
) -> None:
    searches = [
        row[3]
        for statement in await traced()
        if "INDEXED BY" in statement
        for row in empty.execute(f"EXPLAIN QUERY PLAN {statement}")
        if row[3].startswith("SEARCH")
    ]
    assert {search.split(" (")[0] for search in searches} == {
        "SEARCH runs USING COVERING INDEX runs_by_kind",
        "SEARCH runs USING COVERING INDEX runs_by_status",
        "SEARCH runs USING COVERING INDEX runs_by_question",
        "SEARCH runs USING INDEX sqlite_autoindex_runs_1",
    }


async def test_the_calls_above_run_every_statement_of_the_source() -> None:
    ran = await traced()
    assert [begin for begin in written() if not any(begin in statement for statement in ran)] == []


@pytest.mark.parametrize("statement", ["SELECT * FROM runs", "SELECT id FROM runs ORDER BY status"])
def test_a_slow_statement_would_be_noticed(empty: sqlite3.Connection, statement: str) -> None:
    assert problems(empty, statement)
