"""The simulated database: each method is one atomic commit or one consistent read, and takes no time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from shared.adapters.storage.ending import as_saved, must_be_counted, must_be_settled
from shared.adapters.storage.readable import readable_runs
from shared.adapters.storage.run_document import from_document
from shared.domain.budget import (
    NOTHING_USED,
    Balance,
    cost,
    day_of,
    month_of,
    require_room,
    reservation,
)
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits, minute_of, too_many_open_runs, too_many_submits
from shared.domain.run import Run
from shared.domain.status import Status
from shared.domain.usage_sums import UsageSum, usage_of
from shared.domain.webhook_delivery import Delivery, new_deliveries, with_recorded
from shared.errors import RunNotFound, StaleRun
from shared.ports import RunPage, RunPosition

INLINE_CHARACTERS = 200
"""A longer result or input is kept in parts."""


@dataclass(slots=True)
class Row:
    """`run` is the run without what stands in parts, `whole` has its result; `document` stands for a run that another
    release wrote.
    """

    run: Run | None
    revision: int
    whole: Run | None = None
    input: Mapping[str, Any] | None = None
    document: Mapping[str, Any] | None = None
    save_id: object = None
    keys: Mapping[str, Any] | None = None
    """What queries need of a document that this release cannot read."""

    def key(self, name: str) -> Any:
        return self.keys[name] if self.keys is not None else getattr(self.run, name)


class Tables:
    def __init__(
        self,
        random: Random,
        *,
        on_change: Callable[[str], None] = lambda run_id: None,
        on_deliveries: Callable[[Sequence[Delivery]], None] = lambda deliveries: None,
    ) -> None:
        """`on_deliveries` stores the deliveries of webhooks that belong to a commit."""
        self._random = random
        self._on_deliveries = on_deliveries
        self._on_change = on_change
        self._revision = 0
        self.rows: dict[str, Row] = {}
        self.keys: dict[str, IdempotencyRecord] = {}
        self.permits: dict[str, dict[int, str]] = {}
        """Which run holds which permit of which tenant."""
        self.balances: dict[tuple[str, str], Balance] = {}
        """{(tenant, day or month): what it has reserved and spent}"""
        self.usage: dict[str, UsageSum] = {}
        """The sums of the runs that have ended, by tenant."""

    def create(self, run: Run, idempotency: IdempotencyRecord | None, limits: Limits) -> IdempotencyRecord | Run | None:
        """Returns the stored run, None when it was stored before, or the record of the run that has the key."""
        if idempotency is not None:
            taken = self._living_record(idempotency, run)
            if taken is not None and taken.run_id != run.id:
                return taken
        if run.id in self.rows:
            return None
        if limits.budget is not None:
            require_room(limits.budget, run, day=self._balance(run, day_of), month=self._balance(run, month_of))
        permit = self._take_permit(limits, run)
        self._change_balances(run, Balance(reserved=reservation(run)))
        if idempotency is not None:
            self.keys[idempotency.key_hash] = idempotency
        text = str(run.input)
        is_large = len(text) > INLINE_CHARACTERS
        revision = self._next_revision()
        inline: Mapping[str, Any] = {} if is_large else run.input
        self._on_deliveries(new_deliveries(run))
        recorded = with_recorded(run)
        stored = replace(recorded, permit=permit, input=inline, input_parts=int(is_large), revision=revision)
        self._put(Row(run=stored, revision=revision, whole=stored, input=run.input if is_large else None), run.id)
        return stored

    def get(self, run_id: str, *, with_result: bool = True) -> Run:
        """Raises RunNotFound, and ValueError for a document that this release cannot read."""
        row = self.rows.get(run_id)
        if row is None:
            raise RunNotFound
        return _read(row, with_result=with_result)

    def input_of(self, run_id: str) -> Mapping[str, Any] | None:
        row = self.rows.get(run_id)
        return row.input if row is not None else None

    def save(self, run: Run, save_id: object, *, without_parts: bool = False) -> Run:
        """Raises StaleRun when the run was saved since `run` was read."""
        row = self.rows.get(run.id)
        if row is None or self.is_stale(row, run):
            raise StaleRun
        is_large = run.result is not None and len(run.result.text) > INLINE_CHARACTERS
        in_parts = is_large or run.lacks_result
        revision = self._next_revision()
        whole = replace(run, result_parts=int(in_parts), revision=revision)
        if run.lacks_result:
            whole = replace(whole, result=row.whole.result if row.whole is not None else None)
        if run.is_terminal:
            whole = self._give_back(whole)
            self._count(whole)
        self._on_deliveries(new_deliveries(run))
        whole = as_saved(whole)
        stored = replace(whole, result=None) if in_parts else whole
        self._put(
            Row(
                run=stored, revision=revision, whole=whole, input=None if without_parts else row.input, save_id=save_id
            ),
            run.id,
        )
        return whole

    def revision_of(self, run_id: str) -> tuple[int, object]:
        """Returns (the stored revision, the id of the save that wrote it). Raises RunNotFound."""
        row = self.rows.get(run_id)
        if row is None:
            raise RunNotFound
        return row.revision, row.save_id

    def is_stale(self, row: Row, run: Run) -> bool:
        return bool(row.revision != run.revision)

    def select(
        self, wanted: Callable[[Row], bool], *, ordered_by: str, limit: int, offset: int = 0, descending: bool = False
    ) -> RunPage:
        """Returns the rows that `wanted` takes, ordered by (the column, id), without large results."""
        rows = sorted(
            filter(wanted, self.rows.values()), key=lambda row: (row.key(ordered_by), row.key("id")), reverse=descending
        )[offset : offset + limit]
        positions = [RunPosition(at=row.key(ordered_by), run_id=row.key("id")) for row in rows]
        runs = list(readable_runs(rows, lambda row: _read(row, with_result=False)))
        return RunPage(runs=runs, positions=positions)

    def put_document(self, document: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
        """Stores a document as another release wrote it."""
        row = Row(run=None, revision=self._next_revision(), document=document, keys=keys)
        self._put(row, keys["id"])

    def open_runs(self, tenant_id: str) -> int:
        runs = (row.run for row in self.rows.values() if row.run is not None)
        return sum(run.tenant_id == tenant_id and not run.is_terminal for run in runs)

    def _put(self, row: Row, run_id: str) -> None:
        self.rows[run_id] = row
        self._on_change(run_id)

    def _next_revision(self) -> int:
        self._revision += 1
        return self._revision

    def _living_record(self, wanted: IdempotencyRecord, run: Run) -> IdempotencyRecord | None:
        record = self.keys.get(wanted.key_hash)
        if record is None or record.expires_at <= run.created_at:
            return None
        row = self.rows.get(record.run_id)
        return None if row is None or row.key("status") is Status.FAILED else record

    def _take_permit(self, limits: Limits, run: Run) -> int | None:
        """Returns the number of the permit. Raises TooManyRuns."""
        if limits.submits_a_minute is not None:
            minute = minute_of(run.created_at)
            mine = (row.run for row in self.rows.values() if row.run is not None and row.run.user_id == run.user_id)
            if sum(minute_of(one.created_at) == minute for one in mine) >= limits.submits_a_minute:
                raise too_many_submits(limits.submits_a_minute, run.created_at)
        if limits.open_runs is None:
            return None
        taken = self.permits.setdefault(run.tenant_id, {})
        free = [number for number in range(limits.open_runs) if number not in taken]
        if not free:
            raise too_many_open_runs(limits.open_runs)
        number = self._random.choice(free)
        taken[number] = run.id
        return number

    def _give_back(self, run: Run) -> Run:
        if run.permit is None:
            return run
        self.permits.get(run.tenant_id, {}).pop(run.permit, None)
        return replace(run, permit=None)

    def _count(self, run: Run) -> None:
        """Counts a run that this commit ends, and replaces its reservation by its cost."""
        if must_be_counted(run):
            self.usage[run.tenant_id] = self.usage.get(run.tenant_id, UsageSum()) + usage_of(run)
        if must_be_settled(run):
            self._change_balances(run, Balance(reserved=-reservation(run), spent=cost(run)))

    def _balance(self, run: Run, period_of: Callable[[Run], str]) -> Balance:
        return self.balances.get((run.tenant_id, period_of(run)), NOTHING_USED)

    def _change_balances(self, run: Run, change: Balance) -> None:
        for period_of in (day_of, month_of):
            old = self._balance(run, period_of)
            new = Balance(reserved=old.reserved + change.reserved, spent=old.spent + change.spent)
            self.balances[run.tenant_id, period_of(run)] = new


def _read(row: Row, *, with_result: bool) -> Run:
    run = row.whole if with_result else row.run
    if run is None:
        assert row.document is not None
        return from_document(row.document, revision=row.revision)
    return run
