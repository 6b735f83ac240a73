"""Invariants of what clients see: their own runs only, each once, in order, and in streams without gap or repeat."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product

from shared.domain.delta import OFFSET
from shared.domain.event import DELTA, Event, without_deltas
from shared.domain.run import Run
from shared.domain.status import Kind, Status
from shared.usecases.watch import public_events
from tests.simulation.history import SeenRun, Update
from tests.simulation.invariants.case import Case, seconds, short
from tests.simulation.llm import BAD_ENDING, result_text
from tests.simulation.parts import USERS
from tests.simulation.plan import Listen, ListRuns, Submit
from tests.simulation.streams import ENDING

RANKS = {Status.PENDING: 0, Status.PROCESSING: 1, Status.COMPLETED: 2, Status.FAILED: 2, Status.CANCELLED: 2}
MAX_EVENT_LAG = 20.0
"""A channel delivers an event that is stored so many seconds after its time; OVERLAP is a little more."""
SETTLING = 40.0
"""How long before the end of the simulation an event must have happened to be expected in every stream."""


def accepted_runs_exist(case: Case) -> Iterator[str]:
    for client, answers in case.history.accepted_ids.items():
        for _, run_id in answers:
            if run_id not in case.created:
                yield f"{client} was given run {short(run_id)}, which does not exist"


def no_run_without_a_request(case: Case) -> Iterator[str]:
    """Each stored run belongs to an answer, or to a request whose answer was lost."""
    for entry in case.plan.submits:
        if entry.key is not None:
            continue
        stored = sum(case.history.script_ids[run_id] == entry.script_id for run_id in case.created)
        in_doubt = sum(one.client == entry.name and one.is_in_doubt for one in case.history.refusals)
        answered = len(case.history.accepted_ids.get(entry.name, ()))
        if not answered <= stored <= answered + in_doubt:
            yield f"{entry.name} has {stored} runs for {answered} answers and {in_doubt} lost answers"


def one_run_for_one_key(case: Case) -> Iterator[str]:
    """A key stands for one run until that run has failed, whatever the bodies that came with it."""
    holders: dict[tuple[str, str], str] = {}
    for run_id, commit in case.created.items():
        entry = case.submits[case.history.script_ids[run_id]][0]
        if entry.key is None:
            continue
        earlier = holders.get((entry.user, entry.key))
        if earlier is not None:
            ended = case.ended.get(earlier)
            if ended is None or ended.at > commit.at or ended.after.status is not Status.FAILED:
                yield f"runs {short(earlier)} and {short(run_id)} have one idempotency key"
        holders[entry.user, entry.key] = run_id


def a_key_answers_with_its_own_run(case: Case) -> Iterator[str]:
    entries = {entry.name: entry for entry in case.plan.submits}
    for client, answers in case.history.accepted_ids.items():
        entry = entries[client]
        for _, run_id in answers:
            script_id = case.history.script_ids.get(run_id)
            if script_id != entry.script_id:
                yield f"{client} was given run {short(run_id)} of another body, {script_id}"


def states_come_in_order(case: Case) -> Iterator[str]:
    """Who asks after an answer was given sees that state or a later one."""
    by_run: dict[str, list[SeenRun]] = defaultdict(list)
    for seen in case.history.seen:
        by_run[seen.run.id].append(seen)
    for run_id, all_seen in by_run.items():
        first_answered = {_state(seen.run): seen for seen in sorted(all_seen, key=lambda seen: seen.at, reverse=True)}
        last_asked = {_state(seen.run): seen for seen in sorted(all_seen, key=lambda seen: seen.asked_at)}
        for later, earlier in product(last_asked.values(), first_answered.values()):
            if earlier.at < later.asked_at and _goes_back(earlier.run, later.run):
                yield (
                    f"{later.client} saw run {short(run_id)} {later.run.status} at {later.at:.1f} s after "
                    f"{earlier.client} saw it {earlier.run.status} at {earlier.at:.1f} s"
                )
                return


def _state(run: Run) -> tuple[Status, int]:
    """Returns all that `_goes_back` looks at: thousands of answers show a handful of states."""
    return run.status, run.events[-1].sequence


def _goes_back(earlier: Run, later: Run) -> bool:
    if RANKS[later.status] < RANKS[earlier.status] or later.events[-1].sequence < earlier.events[-1].sequence:
        return True
    return earlier.is_terminal and later.status is not earlier.status


def nobody_sees_what_is_not_theirs(case: Case) -> Iterator[str]:
    yield from case.history.foreign_reads
    for seen in case.history.seen:
        if seen.run.user_id != seen.user:
            yield f"{seen.client} of {seen.user} saw run {short(seen.run.id)} of {seen.run.user_id}"
    listeners = {entry.name: entry for entry in case.plan.clients if isinstance(entry, Listen)}
    for client, updates in case.history.streams.items():
        if client not in listeners:
            continue
        for update in updates:
            created = case.created.get(update.run_id)
            if created is not None and not _is_in_channel(created.after, listeners[client]):
                yield f"{client} was sent run {short(update.run_id)} of another channel"


def _is_in_channel(run: Run, entry: Listen) -> bool:
    """Returns whether the listener is to see the run: names of channels count within a tenant."""
    return (run.channel, run.tenant_id) == (entry.channel, USERS[entry.user]["organization_id"])


def results_belong_to_their_runs(case: Case) -> Iterator[str]:
    for seen in case.history.seen:
        if seen.run.result is None:
            continue
        script_id = case.history.script_ids[seen.run.id]
        if seen.run.result.text.removesuffix(BAD_ENDING) != result_text(script_id, case.script(seen.run.id)):
            yield f"run {short(seen.run.id)} has the result of another run"
    for run_id, run in case.history.final.items():
        if (run.status is Status.COMPLETED) != (run.result is not None) and run.deleted_at is None:
            yield f"run {short(run_id)} is {run.status} and has {'a' if run.result else 'no'} result"


def streams_have_no_gap_and_no_repeat(case: Case) -> Iterator[str]:
    """The ids of all connections of one client together are those of the run's history, in order."""
    streamers = {entry.name for entry in case.plan.clients if isinstance(entry, Submit)}
    for client, updates in case.history.streams.items():
        by_run: dict[str, list[Update]] = defaultdict(list)
        for update in updates:
            by_run[update.run_id].append(update)
        for run_id, received in by_run.items():
            run = case.history.final.get(run_id)
            if run is None or len(run.events) >= 100:
                continue
            got = [update.sequence for update in received if DELTA not in update.data]
            wanted = [event.sequence for event in without_deltas(tuple(public_events(run)))]
            is_part = _is_contiguous(got, wanted)
            if got and (not is_part or (client in streamers and got[:1] != wanted[:1])):
                yield f"{client} received events {got} of run {short(run_id)}, whose events are {wanted}"


def _is_contiguous(got: Sequence[int], wanted: Sequence[int]) -> bool:
    start = wanted.index(got[0]) if got[0] in wanted else 0
    return list(wanted[start : start + len(got)]) == list(got)


def deltas_are_the_beginning_of_the_answer(case: Case) -> Iterator[str]:
    """In each stored state, and in what each client has received, the deltas of an attempt follow one another."""
    for run_id, commits in case.commits.items():
        text = result_text(case.history.script_ids[run_id], case.script(run_id))
        for commit in commits:
            deltas = [(event.detail[OFFSET], event.detail[DELTA]) for event in commit.after.events if _has_delta(event)]
            if deltas and commit.after.result is not None:
                yield f"run {short(run_id)} has a result and deltas at {commit.at:.1f} s"
            if not text.startswith(_joined(deltas) or "") or (deltas and _joined(deltas) is None):
                yield f"the deltas of run {short(run_id)} at {commit.at:.1f} s do not make a text: {deltas}"
    for client, updates in case.history.streams.items():
        if not any(entry.name == client for entry in case.plan.clients if isinstance(entry, Submit)):
            continue
        for run_id, deltas in _received_deltas(updates).items():
            text = result_text(case.history.script_ids[run_id], case.script(run_id))
            if not text.startswith(_joined(deltas) or "\0"):
                yield f"{client} received deltas of run {short(run_id)} that do not make a text: {deltas}"


def _has_delta(event: Event) -> bool:
    return DELTA in event.detail


def _received_deltas(updates: Sequence[Update]) -> dict[str, list[tuple[int, str]]]:
    """Returns {run id: (offset, delta) of its last attempt}."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for update in updates:
        if DELTA in update.data:
            offset = update.data["detail"][OFFSET]
            found[update.run_id] = [*(found[update.run_id] if offset else []), (offset, update.data[DELTA])]
    return found


def _joined(deltas: Sequence[tuple[int, str]]) -> str | None:
    """Returns the text of the deltas; None when one is missing or comes twice."""
    text = ""
    for offset, delta in deltas:
        if offset != len(text):
            return None
        text += delta
    return text


def streams_send_a_run_no_more_than_needed(case: Case) -> Iterator[str]:
    """The whole run comes with the first update of a connection and with the end of a run, not with each update."""
    for client, updates in case.history.streams.items():
        connections: set[int] = set()
        for update in updates:
            is_first = update.connection not in connections
            connections.add(update.connection)
            if "run" in update.data and not is_first and update.type not in ENDING:
                yield f"{client} was sent the whole run {short(update.run_id)} again with {update.type}"


def streams_reach_the_end(case: Case) -> Iterator[str]:
    """A run's stream ends with the run's last event; a channel delivers every event while it is listened to."""
    for client, updates in case.history.streams.items():
        entry = next(entry for entry in case.plan.clients if entry.name == client)
        if isinstance(entry, Listen):
            yield from _missed(case, entry, updates)
        elif updates:
            run = case.history.final.get(updates[-1].run_id)
            last = public_events(run)[-1].sequence if run is not None else 0
            if run is not None and run.is_terminal and updates[-1].sequence != last:
                yield f"the stream of {client} stopped at event {updates[-1].sequence} of {last}"


def _missed(case: Case, entry: Listen, updates: Sequence[Update]) -> Iterator[str]:
    received = {(update.run_id, update.sequence) for update in updates}
    connected_at = case.history.connected_at.get(entry.name)
    if connected_at is None:
        return
    for run_id, created in case.created.items():
        run = created.after
        if not _is_in_channel(run, entry):
            continue
        for event, stored_at in _stored_events(case, run_id):
            is_expected = (
                connected_at + case.max_skew < seconds(event.at) and stored_at < case.history.ended_at - SETTLING
            )
            is_expected = is_expected and abs(stored_at - seconds(event.at)) < MAX_EVENT_LAG
            if is_expected and (run_id, event.sequence) not in received:
                yield f"{entry.name} missed event {event.sequence} ({event.type}) of run {short(run_id)}"


def _stored_events(case: Case, run_id: str) -> Iterator[tuple[Event, float]]:
    """Yields each public event, except deltas, with the time of the commit that stored it."""
    known = 0
    for commit in case.commits[run_id]:
        for event in public_events(commit.after, after=known):
            known = event.sequence
            if not _has_delta(event):  # it is dropped with the result, which may come before anybody looked
                yield event, commit.at


def lists_are_complete(case: Case) -> Iterator[str]:
    entries = {entry.name: entry for entry in case.plan.clients if isinstance(entry, ListRuns)}
    for client, found, started_at, _ in case.history.lists:
        entry = entries[client]
        if len(set(found)) < len(found):
            yield f"{client} found a run twice: {[short(run_id) for run_id in found]}"
        if entry.status is not None:
            continue
        for run_id, created in case.created.items():
            run = created.after
            is_wanted = run.user_id == entry.user and (run.kind is Kind.JOB) == entry.jobs
            if is_wanted and created.at < started_at and run_id not in found:
                yield f"{client} did not find run {short(run_id)}"


def deleted_content_is_gone(case: Case) -> Iterator[str]:
    deleted = {seen.run.id for seen in case.history.seen if seen.how == "delete"}
    for run_id in deleted:
        run = case.history.final[run_id]
        has_text = run.result is not None or run.input or any(_has_delta(event) for event in run.events)
        if run.deleted_at is None or has_text or run_id in case.history.inputs_left:
            yield f"run {short(run_id)} was deleted and has content left"


CLIENTS = (
    accepted_runs_exist,
    no_run_without_a_request,
    one_run_for_one_key,
    a_key_answers_with_its_own_run,
    states_come_in_order,
    nobody_sees_what_is_not_theirs,
    results_belong_to_their_runs,
    streams_have_no_gap_and_no_repeat,
    deltas_are_the_beginning_of_the_answer,
    streams_send_a_run_no_more_than_needed,
    streams_reach_the_end,
    lists_are_complete,
    deleted_content_is_gone,
)
