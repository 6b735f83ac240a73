"""Keeps sums and tallies of usage and the balances of budgets in SQLite, in the commits that create and end runs."""

import sqlite3
from collections.abc import Sequence
from datetime import date, datetime

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.ending import must_be_counted, must_be_settled
from shared.domain.budget import Balance, Budget, cost, day_of, month_of, require_room, reservation
from shared.domain.run import Run
from shared.domain.tally import Tally, tally_of
from shared.domain.usage_sums import RETENTION, SUM_NAMES, UsageKey, UsageSum, usage_key, usage_of

FORGOTTEN = ""
"""Stands for None, which SQLite does not take in a primary key: a forgotten user, no model, no deployment."""
_ADD = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUM_NAMES)
_INSERT = (
    f"INSERT INTO usage (tenant_id, day, user_id, model, deployment, {', '.join(SUM_NAMES)})"
    f" VALUES (?, ?, ?, ?, ?, {', '.join('?' * len(SUM_NAMES))}) ON CONFLICT DO UPDATE SET {_ADD}"
)

_FAILURE, _SECONDS = "failed:", "seconds:"
"""Prefixes of the names in the table `tallies`: an error code or the number of a bucket follows."""
_INSERT_COUNT = "INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs + excluded.runs"


class SqliteUsageSums:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(self, tenant_id: str, *, first: date, last: date) -> Sequence[tuple[UsageKey, UsageSum]]:
        values = (tenant_id, first.isoformat(), last.isoformat())
        return await self._select("tenant_id = ? AND day BETWEEN ? AND ?", values)

    async def of_user(self, user_id: str) -> Sequence[tuple[UsageKey, UsageSum]]:
        return await self._select("user_id = ?", (user_id,))

    async def _select(self, condition: str, values: Sequence[str]) -> Sequence[tuple[UsageKey, UsageSum]]:
        query = f"SELECT day, user_id, model, deployment, {', '.join(SUM_NAMES)} FROM usage WHERE {condition}"
        rows = await self._database.read(lambda connection: connection.execute(query, values).fetchall())
        return [
            (_key(day, user, model, deployment), UsageSum(**dict(zip(SUM_NAMES, sums, strict=True))))
            for day, user, model, deployment, *sums in rows
        ]

    async def tallies(
        self, tenant_id: str, *, first: date, last: date, user_id: str | None = None
    ) -> Sequence[tuple[UsageKey, Tally]]:
        where = "WHERE tenant_id = ? AND day BETWEEN ? AND ? AND user_id = coalesce(?, user_id)"
        values = (tenant_id, first.isoformat(), last.isoformat(), user_id)
        queries = (
            f"SELECT day, user_id, model, deployment, runs, failed, cost FROM usage {where}",
            f"SELECT day, user_id, model, deployment, name, runs FROM tallies {where}",
        )
        sums, counts = await self._database.read(
            lambda connection: [connection.execute(query, values).fetchall() for query in queries]
        )
        found = [(_key(*key), Tally(runs=runs, failed=failed, cost=cost)) for *key, runs, failed, cost in sums]
        return found + [(_key(*key), _counted(name, runs)) for *key, name, runs in counts]

    async def forget_user(self, user_id: str) -> None:
        def move(connection: sqlite3.Connection) -> None:
            columns = f"tenant_id, day, model, deployment, {', '.join(SUM_NAMES)}"
            rows = connection.execute(f"SELECT {columns} FROM usage WHERE user_id = ?", (user_id,)).fetchall()
            for tenant_id, day, model, deployment, *sums in rows:
                connection.execute(_INSERT, (tenant_id, day, FORGOTTEN, model, deployment, *sums))
            query = "SELECT tenant_id, day, model, deployment, name, runs FROM tallies WHERE user_id = ?"
            for tenant_id, day, *names in connection.execute(query, (user_id,)).fetchall():
                connection.execute(_INSERT_COUNT, (tenant_id, day, FORGOTTEN, *names))
            for table in ("usage", "tallies"):
                connection.execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,))

        await self._database.write(move)


def reserve(connection: sqlite3.Connection, run: Run, budget: Budget | None) -> None:
    """Reserves what a new run may cost. Raises BudgetExhausted; the transaction is then to be rolled back."""
    amount = reservation(run)
    if amount == 0:
        return
    day, month = day_of(run), month_of(run)
    if budget is not None:
        require_room(budget, run, day=_balance(connection, run, day), month=_balance(connection, run, month))
    for period in (day, month):
        _add(connection, run, period, Balance(reserved=amount))


def end(connection: sqlite3.Connection, run: Run) -> None:
    """Counts a run that this transaction ends, and replaces its reservation by its cost."""
    if must_be_counted(run):
        key, added = usage_key(run), usage_of(run)
        sums = [getattr(added, name) for name in SUM_NAMES]
        names = (run.tenant_id, key.day, key.user or FORGOTTEN, key.model or FORGOTTEN, key.deployment or FORGOTTEN)
        connection.execute(_INSERT, (*names, *sums))
        connection.executemany(_INSERT_COUNT, [(*names, name, count) for name, count in _counts(tally_of(run))])
    if must_be_settled(run):
        for period in (day_of(run), month_of(run)):
            _add(connection, run, period, Balance(reserved=-reservation(run), spent=cost(run)))


def forget_expired(connection: sqlite3.Connection, now: datetime) -> None:
    """Deletes sums and balances whose time is over."""
    first = (now - RETENTION).date().isoformat()
    connection.execute("DELETE FROM usage WHERE day < ?", (first,))
    connection.execute("DELETE FROM tallies WHERE day < ?", (first,))
    connection.execute("DELETE FROM budgets WHERE period < ?", (first[:7],))


def _balance(connection: sqlite3.Connection, run: Run, period: str) -> Balance:
    return read_balance(connection, run.tenant_id, period)


def read_balance(connection: sqlite3.Connection, tenant_id: str, period: str) -> Balance:
    """Returns what the tenant has reserved and spent in the period, which is a day or a month such as 2026-03."""
    query = "SELECT reserved, spent FROM budgets WHERE tenant_id = ? AND period = ?"
    reserved, spent = connection.execute(query, (tenant_id, period)).fetchone() or (0, 0)
    return Balance(reserved=reserved, spent=spent)


def _add(connection: sqlite3.Connection, run: Run, period: str, change: Balance) -> None:
    connection.execute(
        "INSERT INTO budgets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET reserved = reserved + excluded.reserved, spent = spent + excluded.spent",
        (run.tenant_id, period, change.reserved, change.spent),
    )


def _key(day: str, user: str, model: str, deployment: str) -> UsageKey:
    return UsageKey(day=day, user=user or None, model=model or None, deployment=deployment or None)


def _counts(tally: Tally) -> list[tuple[str, int]]:
    """Returns [(name in the table `tallies`, runs)]."""
    failures = [(f"{_FAILURE}{code}", runs) for code, runs in tally.failures.items()]
    return failures + [(f"{_SECONDS}{bucket}", runs) for bucket, runs in tally.seconds.items()]


def _counted(name: str, runs: int) -> Tally:
    """Returns the tally of one row of the table `tallies`."""
    if name.startswith(_FAILURE):
        return Tally(failures={name.removeprefix(_FAILURE): runs})
    return Tally(seconds={int(name.removeprefix(_SECONDS)): runs})
