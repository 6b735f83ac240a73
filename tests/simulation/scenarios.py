"""Plans for rare combinations: what must meet within seconds would hardly ever meet in a plan of chance."""

from collections.abc import Callable
from random import Random

from tests.simulation.faults import AtCall, AtDelivery, CallFaultKind, DeliveryFaultKind, Outage, OutageMode
from tests.simulation.plan import Listen, Plan, PlanSettings, Submit
from tests.simulation.script import ACCEPTED, FINAL, PASSING, JobEnd, LlmFault, LlmScript

USERS = ("ann", "bob", "eve")
CRASHES = (CallFaultKind.CRASH_BEFORE, CallFaultKind.CRASH_AFTER)


def workers_die_in_calls(seed: int, random: Random) -> Plan:
    """Each worker that calls a synchronous LLM dies, until there is no attempt left to pay for."""
    settings = PlanSettings(sweep=15.0, deadline=900.0, chat=20.0, firestore=random.random() < 0.65)
    kind = random.choice((CallFaultKind.CRASH_AFTER, CallFaultKind.CRASH_AFTER, CallFaultKind.CRASH_BEFORE))
    crash = AtCall(call="llm.start", nth=1, kind=kind, times=random.randint(1, 6))
    clients = tuple(_chat(random, number, takes=random.uniform(1, 18)) for number in range(random.randint(1, 2)))
    return Plan(seed=seed, settings=settings, clients=clients, faults=(crash,))


def the_store_is_away_when_an_answer_comes(seed: int, random: Random) -> Plan:
    """The answer to a long call meets a store that comes back about when the call's time is over."""
    settings = PlanSettings(
        sweep=15.0,
        deadline=600.0,
        chat=20.0,
        ack_deadline=random.choice((20.0, 30.0, 600.0)),
        firestore=random.random() < 0.65,
    )
    takes = random.uniform(10, 19)
    start = max(takes - random.uniform(0, 4), 0.0)
    mode = random.choice((OutageMode.REFUSES, OutageMode.REFUSES, OutageMode.HANGS))
    outage = Outage(part="store", start=start, seconds=random.uniform(3, 45), mode=mode)
    twice = AtDelivery(part="queue", nth=1, kind=DeliveryFaultKind.TWICE, seconds=random.uniform(15, 40))
    clients = tuple(_chat(random, number, takes=takes) for number in range(random.randint(1, 3)))
    return Plan(seed=seed, settings=settings, clients=clients, faults=(outage, twice))


def workers_stand_still_beyond_their_lease(seed: int, random: Random) -> Plan:
    """A worker goes on with its answer when another has claimed the run: it calls, or it has called."""
    settings = PlanSettings(sweep=15.0, deadline=900.0, chat=20.0, firestore=random.random() < 0.65)
    kind = random.choice((CallFaultKind.FREEZE_AFTER, CallFaultKind.FREEZE_AFTER, CallFaultKind.FREEZE_BEFORE))
    call = random.choice(("llm.start", "llm.start", "store.load_input", "store.save"))
    is_job = random.random() < 0.5
    seconds = random.uniform(14, 50) if is_job else random.uniform(98, 150)
    freeze = AtCall(call=call, nth=random.choice((1, 1, 2)), function="process_run", kind=kind, seconds=seconds)
    entry = _chat(random, 0, takes=random.uniform(5, 18), family="job" if is_job else "chat")
    return Plan(seed=seed, settings=settings, clients=(entry,), faults=(freeze,))


def everything_comes_twice(seed: int, random: Random) -> Plan:
    """A repeated task ends a run again while its client deletes it."""
    settings = PlanSettings(firestore=random.random() < 0.65)
    gap = random.uniform(0, 0.8)
    faults = tuple(
        AtDelivery(part=part, nth=1, kind=DeliveryFaultKind.TWICE, seconds=gap, times=200)
        for part in ("queue", "timers")
    )
    clients = tuple(_chat(random, number, takes=random.uniform(0.5, 6), family="job") for number in range(4))
    return Plan(seed=seed, settings=settings, clients=clients, faults=faults)


def two_deliveries_go_on_together(seed: int, random: Random) -> Plan:
    """A process stands still with two deliveries of one run, which then claim it at the same moment."""
    settings = PlanSettings(firestore=True)
    freeze = AtCall(call="store.get", nth=1, function="process_run", kind=CallFaultKind.FREEZE_BEFORE, seconds=5.0)
    twice = AtDelivery(part="queue", nth=1, kind=DeliveryFaultKind.TWICE, seconds=0.0, times=4)
    clients = tuple(_chat(random, number, takes=5.0) for number in range(2))
    return Plan(seed=seed, settings=settings, clients=clients, faults=(freeze, twice))


def jobs_fail_again_and_again(seed: int, random: Random) -> Plan:
    settings = PlanSettings(deadline=600.0, firestore=random.random() < 0.65)
    ends = (JobEnd.INTERRUPTED,) * random.randint(1, 6)
    script = LlmScript(takes=random.uniform(0.5, 8), job_ends=ends)
    submit = Submit(name="c0", at=0.0, user=random.choice(USERS), family=random.choice(("job", "user")), llm=script)
    return Plan(seed=seed, settings=settings, clients=(submit,))


def a_paid_submit_is_never_answered(seed: int, random: Random) -> Plan:
    """The LLM accepts a job, its answer is lost, and no repetition of the call tells more until the deadline."""
    settings = PlanSettings(sweep=15.0, deadline=60.0, firestore=random.random() < 0.65)
    lost = random.choice((LlmFault.ACCEPTED_LOST, LlmFault.ACCEPTED_SILENT))
    later = random.choice(((LlmFault.CREDENTIALS,), (LlmFault.UNAVAILABLE,) * 40, (LlmFault.RATE_LIMITED,) * 40))
    script = LlmScript(takes=random.uniform(0.5, 30), submits=(lost, *later))
    submit = Submit(name="c0", at=0.0, user=random.choice(USERS), family=random.choice(("job", "user")), llm=script)
    return Plan(seed=seed, settings=settings, clients=(submit,))


def a_translation_is_repaired(seed: int, random: Random) -> Plan:
    """A chat model translates badly at first, and what may go wrong goes wrong with the call that repairs it."""
    settings = PlanSettings(
        sweep=15.0, deadline=random.choice((25.0, 300.0)), chat=20.0, firestore=random.random() < 0.65
    )
    kind = random.choice(
        (*CRASHES, *CRASHES, CallFaultKind.FREEZE_BEFORE, CallFaultKind.FAIL, CallFaultKind.LOSE_ANSWER)
    )
    call = random.choice(("llm.start", "llm.start", "llm.start", "store.save", "timers.schedule"))
    nth = 2 if call == "llm.start" else random.randint(1, 5)
    times = 1 if kind is CallFaultKind.FREEZE_BEFORE else random.choice((1, 1, 3))
    seconds = random.uniform(10, 120)
    fault = AtCall(call=call, nth=nth, kind=kind, seconds=seconds, times=times)
    second = random.choice((LlmFault.NONE, LlmFault.NONE, *PASSING, *ACCEPTED, *FINAL))
    script = LlmScript(takes=random.uniform(0.5, 15), submits=(LlmFault.NONE, second), is_bad_at_first=True)
    submit = Submit(
        name="c0",
        at=0.0,
        user="kim",
        family="user",
        llm=script,
        follow=random.choice(("poll", "stream")),
        cancel_after=random.choice((None, None, None, random.uniform(0, 20))),
    )
    return Plan(seed=seed, settings=settings, clients=(submit,), faults=(fault,))


def a_listener_does_not_read_for_a_while(seed: int, random: Random) -> Plan:
    """Meanwhile runs of its channel begin and end, in another order than they began."""
    settings = PlanSettings(firestore=random.random() < 0.65)
    user = random.choice(USERS)
    listen = Listen(name="l0", at=0.0, user=user, channel=f"user:{user}", stall=random.uniform(50, 120))
    submits = tuple(
        Submit(
            name=f"c{number}",
            at=random.uniform(0, 30),
            user=user,
            family=random.choice(("job", "user")),
            llm=LlmScript(takes=random.uniform(1, 60)),
            channel=f"user:{user}",
        )
        for number in range(4)
    )
    return Plan(seed=seed, settings=settings, clients=(listen, *submits))


def _chat(random: Random, number: int, *, takes: float, family: str = "chat") -> Submit:
    return Submit(
        name=f"c{number}",
        at=random.choice((0.0, random.uniform(0, 3))),
        user=random.choice(USERS),
        family=family,
        llm=LlmScript(takes=takes, is_idempotent=False),
        follow=random.choice(("poll", "stream")),
        pause=random.choice((0.1, 0.5, 3.0)),
        delete=random.random() < 0.5,
    )


Scenario = Callable[[int, Random], Plan]
SCENARIOS: tuple[Scenario, ...] = (
    workers_die_in_calls,
    the_store_is_away_when_an_answer_comes,
    workers_stand_still_beyond_their_lease,
    everything_comes_twice,
    two_deliveries_go_on_together,
    jobs_fail_again_and_again,
    a_paid_submit_is_never_answered,
    a_translation_is_repaired,
    a_listener_does_not_read_for_a_while,
)
