"""Makes the plan of a seed. Each seed draws which kinds of faults it has, so that rare combinations come up too."""

from collections.abc import Callable
from random import Random

from shared.domain.frozen import replace
from shared.domain.webhook import ENDING_EVENTS, WEBHOOK_EVENTS
from tests.simulation.faults import (
    AtCall,
    AtDelivery,
    CallFaultKind,
    DeliveryFaultKind,
    ExtraSweep,
    Fault,
    Kill,
    LoseAll,
    NoCapacity,
    OtherRelease,
    Outage,
    OutageMode,
    Pause,
    ReceiverFault,
    Rollout,
    Skew,
)
from tests.simulation.plan import Client, Intrude, Listen, ListRuns, Plan, PlanSettings, Submit
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.script import LlmScript, make_script, make_script_that_leaves

FAULTS_END = 200.0
"""No fault of the plan begins or goes on later than this many seconds."""
SCENARIO_SHARE = 0.25
"""How many seeds play a scenario."""
FUNCTIONS = ("api", "process_run", "recheck_run", "sweep_runs", "bury_run")
WORKERS = ("process_run", "recheck_run")
CALLS = (
    "store.get",
    "store.save",
    "store.save",
    "store.save",
    "store.save",
    "store.create",
    "store.load_input",
    "store.due_runs",
    "queue.publish",
    "timers.schedule",
    "llm.start",
    "llm.start",
    "llm.check",
    "llm.cancel",
    "cache.put",
    "durations.known",
    "durations.add",
    "directory.get",
    "letters.keep",
)
FROZEN_CALLS = ("store.get", "store.save", "store.load_input", "llm.start", "llm.start", "llm.check", "queue.publish")
WEBHOOK_CALLS = (
    "receivers.post",
    "receivers.post",
    "store.webhook_save",
    "store.webhook_save",
    "store.webhook_chain",
    "store.webhook_delivery",
    "store.webhook_organization",
    "store.webhook_change",
    "store.webhook_due",
    "timers.schedule_webhook",
)
WEBHOOK_SHARE = 0.3
"""How many of the seeds without a scenario have webhooks."""
USERS = {"ann": "acme", "bob": "acme", "eve": "globex"}
CRASHES = (CallFaultKind.CRASH_BEFORE, CallFaultKind.CRASH_AFTER)
FREEZES = (CallFaultKind.FREEZE_BEFORE, CallFaultKind.FREEZE_AFTER)
FAILURES = (
    CallFaultKind.FAIL,
    CallFaultKind.LOSE_ANSWER,
    CallFaultKind.LOSE_ANSWER,
    CallFaultKind.LATE_ANSWER,
    CallFaultKind.SLOW,
)
CHANGES = ("status", "kind", "time", "event")


def make_plan(seed: int) -> Plan:
    """Returns the plan of the seed: the same for the same seed, always."""
    random = Random(seed)
    if random.random() < SCENARIO_SHARE:
        return random.choice(SCENARIOS)(seed, random)
    is_without_faults = random.random() < 0.1
    settings = replace(_settings(random), day_usd=_day_usd(seed))
    clients = _with_fallbacks(seed, _clients(random, without_faults=is_without_faults))
    faults = () if is_without_faults else _faults(random)
    foreign = [fault for fault in faults if isinstance(fault, OtherRelease)]
    listers = [_lister_of(fault, number) for number, fault in enumerate(foreign)]
    return _with_webhooks(Plan(seed=seed, settings=settings, clients=(*clients, *listers), faults=faults))


def _lister_of(fault: OtherRelease, number: int) -> ListRuns:
    """Returns a client that lists the runs among which the unreadable document stands."""
    return ListRuns(name=f"f{number}", at=fault.start + 10, user=fault.user, jobs=True)


def _settings(random: Random) -> PlanSettings:
    return PlanSettings(
        sweep=random.choice((15.0, 30.0, 60.0)),
        grace=random.choice((15.0, 30.0, 60.0)),
        deadline=random.choice((90.0, 180.0, 300.0, 300.0, 600.0)),
        chat=random.choice((20.0, 40.0)),
        submits_a_minute=random.choice((None, None, 2, 4)),
        open_runs=random.choice((None, None, 2, 3, 5)),
        llm_threads=random.choice((1, 2, 8, 8)),
        task_attempts=random.choice((2, 4, 100, 100)),
        ack_deadline=random.choice((20.0, 60.0, 600.0)),
        firestore=random.random() < 0.65,
    )


def _day_usd(seed: int) -> float | None:
    """Returns the budget of acme, drawn from the seed alone; a run reserves 0.03 USD or about 0.014."""
    return Random(f"{seed} budget").choice((None, None, 0.02, 0.05, 0.1))


def _clients(random: Random, *, without_faults: bool) -> tuple[Client, ...]:
    submits = [_submit(random, number, without_faults=without_faults) for number in range(random.randint(1, 7))]
    clients: list[Client] = [*submits]
    for number, first in enumerate(submits):
        if first.key is not None and random.random() < 0.5:
            clients.append(_same_key(random, first, f"k{number}"))
    for number in range(random.choice((0, 0, 1, 2))):
        user = random.choice(tuple(USERS))
        channel = random.choice((f"user:{user}", f"org:{USERS[user]}", "desk"))
        break_every = random.choice((None, 5.0, 20.0, 60.0))
        at, stall = random.uniform(0, 60), random.choice((0.0, 0.0, 40.0, 100.0))
        listen = Listen(name=f"l{number}", at=at, user=user, channel=channel, break_every=break_every, stall=stall)
        clients.append(listen)
    for number in range(random.choice((0, 0, 1, 2))):
        at, user = random.uniform(10, 150), random.choice(tuple(USERS))
        status = random.choice((None, None, "completed", "pending"))
        clients.append(ListRuns(name=f"p{number}", at=at, user=user, jobs=random.random() < 0.5, status=status))
    if random.random() < 0.3:
        target = random.choice(submits)
        others = [user for user in USERS if user != target.user]
        at = target.at + random.uniform(1, 60)
        clients.append(Intrude(name="s0", at=at, user=random.choice(others), target=target.name))
    return tuple(clients)


def _submit(random: Random, number: int, *, without_faults: bool) -> Submit:
    user = random.choice(tuple(USERS))
    family = random.choice(("admin", "user", "job", "chat", "chat"))
    at = random.choice((0.0, 1.0, random.uniform(0, 90)))
    is_job = family in ("job", "chat")
    return Submit(
        name=f"c{number}",
        at=at,
        user=user,
        family=family,
        llm=make_script(random, without_faults=without_faults),
        key=f"key-{number}" if random.random() < 0.4 else None,
        copies=random.choice((0, 0, 0, 1, 2)),
        follow=random.choice(("poll", "poll", "wait", "stream", "stream")),
        pause=random.choice((0.5, 3.0, 10.0)),
        break_every=random.choice((None, 2.0, 7.0, 30.0)),
        channel=random.choice((None, None, f"user:{user}", f"org:{USERS[user]}", "desk")),
        deadline=random.choice((None, None, 20.0, 60.0)) if is_job else None,
        cancel_after=random.choice((None, None, None, None, 0.0, random.uniform(0, 12), random.uniform(0, 60))),
        delete=random.random() < 0.25,
        prior=f"c{random.randrange(number)}" if number and random.random() < 0.15 and not is_job else None,
    )


def _with_fallbacks(seed: int, clients: tuple[Client, ...]) -> tuple[Client, ...]:
    """Gives some jobs a model with fallbacks. It draws from a source of its own: all else stays as it is."""
    random = Random(f"{seed} fallbacks")
    chosen: dict[str, tuple[bool, LlmScript]] = {}
    changed: list[Client] = []
    for client in clients:
        if not isinstance(client, Submit) or client.family not in ("job", "chat"):
            changed.append(client)
            continue
        script = make_script_that_leaves(random, client.llm) if client.llm.has_faults else client.llm
        is_chosen, script = chosen.setdefault(client.key or client.name, (random.random() < 0.3, script))
        changed.append(replace(client, fallback=True, llm=script) if is_chosen else client)
    return tuple(changed)


def _with_webhooks(plan: Plan) -> Plan:
    """Gives some plans webhooks, with faults of their own. It draws from a source of its own: all else stays."""
    random = Random(f"{plan.seed} webhooks")
    if random.random() > WEBHOOK_SHARE:
        return plan
    kinds = random.sample(WEBHOOK_EVENTS, k=random.randint(1, len(WEBHOOK_EVENTS))) if random.random() < 0.7 else ()
    events = [ENDING_EVENTS, tuple(event for event in WEBHOOK_EVENTS if event in kinds) or WEBHOOK_EVENTS]
    endpoints = tuple(tuple(str(one) for one in wanted) for wanted in events[: random.randint(1, 2)])
    is_chosen = {client.key or client.name: random.random() < 0.4 for client in plan.submits}
    clients = [
        replace(client, webhook=USERS[client.user] == "acme" and is_chosen[client.key or client.name])
        if isinstance(client, Submit)
        else client
        for client in plan.clients
    ]
    makers = WEBHOOK_FAULTS if plan.faults else (_receiver_fault,)
    more = [make(random) for make in random.choices(makers, k=random.choice((0, 1, 2)))]
    return replace(
        plan,
        settings=replace(plan.settings, webhooks=endpoints),
        clients=tuple(clients),
        faults=(*plan.faults, *more),
    )


def _receiver_fault(random: Random) -> Fault:
    start, seconds = _window(random)
    return ReceiverFault(start=start, seconds=seconds, code=random.choice((500, 302, None, None, 410)))


def _webhook_crash(random: Random) -> Fault:
    call, kind = random.choice(WEBHOOK_CALLS), random.choice((*CRASHES, *FREEZES, *FAILURES))
    is_timed = kind in (*FREEZES, CallFaultKind.SLOW, CallFaultKind.LATE_ANSWER)
    nth, times = random.choice((1, 1, 2, 3, random.randint(1, 15))), random.choice((1, 1, 1, 3))
    return AtCall(call=call, nth=nth, kind=kind, seconds=random.choice((4.0, 40.0)) if is_timed else 0.0, times=times)


def _same_key(random: Random, first: Submit, name: str) -> Submit:
    """A later request with the same key, of the same body or another."""
    return Submit(
        name=name,
        at=first.at + random.choice((0.0, 0.05, 5.0, random.uniform(0, 100))),
        user=first.user,
        family=first.family,
        llm=first.llm,
        key=first.key,
        body=random.choice((0, 0, 1)),
        channel=first.channel,
        deadline=first.deadline,
        follow="poll",
        pause=10.0,
    )


def _faults(random: Random) -> tuple[Fault, ...]:
    """Draws the kinds first, and then some faults of each kind."""
    kinds = random.sample(KINDS, random.choice((1, 1, 2, 2, 3, 4, 6)))
    return tuple(make(random) for kind in kinds for make in [kind] for _ in range(random.choice((1, 1, 2, 4))))


def _window(random: Random, longest: float = 90.0) -> tuple[float, float]:
    start = random.choice((0.0, random.uniform(0, 30), random.uniform(0, 120)))
    seconds = random.choice((random.uniform(0.5, 5), random.uniform(5, 30), random.uniform(30, longest)))
    return start, min(seconds, FAULTS_END - start)


def _outage(random: Random) -> Fault:
    start, seconds = _window(random)
    part = random.choice(("store", "store", "queue", "timers", "cache", "directory", "durations", "llm", "watch"))
    return Outage(part=part, start=start, seconds=seconds, mode=random.choice(tuple(OutageMode)))


def _crash(random: Random) -> Fault:
    call = random.choice(("*", "*", *CALLS))
    nth = random.randint(1, 120) if call == "*" else random.choice((1, 1, 2, 3, random.randint(1, 15)))
    times = 1 if call == "*" else random.choice((1, 1, 1, 3, 5))
    function = random.choice(("*", *FUNCTIONS)) if call == "*" else "*"
    return AtCall(call=call, nth=nth, function=function, kind=random.choice(CRASHES), times=times)


def _freeze(random: Random) -> Fault:
    call = random.choice(("*", *FROZEN_CALLS))
    nth = random.randint(1, 80) if call == "*" else random.choice((1, 1, 2, 3, random.randint(1, 10)))
    kind, seconds = random.choice(FREEZES), random.choice((5.0, 30.0, 90.0, 150.0))
    return AtCall(call=call, nth=nth, function=random.choice(("*", *WORKERS)), kind=kind, seconds=seconds)


def _failure(random: Random) -> Fault:
    call = random.choice(("*", *CALLS))
    nth = random.randint(1, 80) if call == "*" else random.randint(1, 6)
    kind = random.choice(FAILURES)
    seconds = random.choice((1.0, 4.0)) if kind in (CallFaultKind.SLOW, CallFaultKind.LATE_ANSWER) else 0.0
    return AtCall(call=call, nth=nth, kind=kind, seconds=seconds)


def _lost_answer_to_client(random: Random) -> Fault:
    return AtCall(call="client.answer", nth=random.randint(1, 12), kind=CallFaultKind.LOSE_ANSWER)


def _delivery(random: Random) -> Fault:
    part = random.choice(("queue", "timers", "timers"))
    nth = random.choice((1, 2, random.randint(1, 8), random.randint(1, 40)))
    seconds, kind = random.choice((0.0, random.uniform(0, 2), 20.0, 90.0)), random.choice(tuple(DeliveryFaultKind))
    times = random.choice((1, 20)) if kind is DeliveryFaultKind.TWICE else 1
    return AtDelivery(part=part, nth=nth, kind=kind, seconds=seconds, times=times)


def _lose_all(random: Random) -> Fault:
    return LoseAll(part=random.choice(("queue", "timers")), start=random.uniform(0, FAULTS_END - 50))


def _pause(random: Random) -> Fault:
    start, seconds = _window(random, longest=150.0)
    return Pause(part=random.choice(("queue", "timers", "sweeps")), start=start, seconds=seconds)


def _no_capacity(random: Random) -> Fault:
    start, seconds = _window(random)
    return NoCapacity(function=random.choice(WORKERS), start=start, seconds=seconds)


def _extra_sweep(random: Random) -> Fault:
    return ExtraSweep(start=random.uniform(0, FAULTS_END))


def _kill(random: Random) -> Fault:
    return Kill(function=random.choice(FUNCTIONS), start=random.uniform(0, 120))


def _skew(random: Random) -> Fault:
    function = random.choice(FUNCTIONS)
    seconds = random.choice(
        (-300.0, -30.0, -1.0, 1.0, 30.0, 300.0) if function in WORKERS else (-10.0, -1.0, 1.0, 10.0)
    )
    return Skew(function=function, place=random.randrange(2), seconds=seconds)


def _rollout(random: Random) -> Fault:
    return Rollout(start=random.uniform(0, 60))


def _other_release(random: Random) -> Fault:
    change, user = random.choice(CHANGES), random.choice(tuple(USERS))
    return OtherRelease(start=random.uniform(0, 60), change=change, shard=random.randrange(8), user=user)


KINDS: tuple[Callable[[Random], Fault], ...] = (
    _outage,
    _outage,
    _crash,
    _crash,
    _freeze,
    _failure,
    _lost_answer_to_client,
    _delivery,
    _delivery,
    _lose_all,
    _pause,
    _no_capacity,
    _extra_sweep,
    _kill,
    _skew,
    _rollout,
    _other_release,
)
WEBHOOK_FAULTS: tuple[Callable[[Random], Fault], ...] = (_receiver_fault, _webhook_crash)
