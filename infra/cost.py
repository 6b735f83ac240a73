"""Computes what a million runs cost at list prices, for three lengths of the LLM's work: python -m infra.cost

The counts of reads and writes are the most that tests allow on the emulators; the seconds for which a request keeps an
instance to itself are assumptions. Free quotas, network, logs and the LLM itself are left out.
"""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil, exp
from statistics import NormalDist, fmean

from shared.domain.best_plan import best_plan
from shared.domain.durations import Durations, one_duration
from shared.domain.recheck_plan import RecheckPlan
from shared.usecases.known_durations import SAMPLED_RUNS
from shared.usecases.read import MAX_COUNTED

MILLION = 1_000_000
READ, WRITE, DELETE = 0.03 / 100_000, 0.09 / 100_000, 0.01 / 100_000
MESSAGE_BYTE = 40 / 2**40
TASK_OPERATION = 0.40 / MILLION
REQUEST = 0.40 / MILLION
INSTANCE_SECOND = 0.000024 + 0.0000025
"""One vCPU and one GiB. All prices are list prices of US regions in USD."""

SUBMIT_SECONDS, START_SECONDS, CHECK_SECONDS = 0.1, 0.3, 0.2
"""How long submit_run, process_run and recheck_run take for one request."""
STREAMS_PER_INSTANCE = 100
"""How many streams or waiting clients share one instance of read_runs."""
LISTENER_READS = 5
"""Reads of a client that follows its run: the run at the beginning, and each of its four changes."""
PATROL_SECONDS = 8 * 60
"""The sweeper reads each open run once in eight passes."""
MESSAGE_BYTES = 2 * 1000
"""At least 1 kB is billed when a message is published, and again when it is delivered."""
SPREAD = [exp(NormalDist(0, 0.2).inv_cdf((number + 0.5) / 100)) for number in range(100)]
"""Two thirds of all jobs take the given time within a fifth."""
PAGE, MAX_OFFSET, COUNTED_A_READ = 20, 1000, 1000
LISTED = (100, 10_000, 1_000_000)
LENGTHS = {"2 s": 2, "60 s": 60, "1 h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Holds what one run uses whose LLM works for so many seconds, with both limits (submits and open runs) set."""

    checks: int
    writes: float
    reads: float
    deletes: int
    task_operations: int
    requests: int
    instance_seconds: float

    def prices(self) -> dict[str, float]:
        """Returns {item: USD for one run}."""
        return {
            "Firestore writes": self.writes * WRITE,
            "Firestore reads": self.reads * READ,
            "Firestore deletes": self.deletes * DELETE,
            "Pub/Sub": MESSAGE_BYTES * MESSAGE_BYTE,
            "Cloud Tasks": self.task_operations * TASK_OPERATION,
            "requests of functions": self.requests * REQUEST,
            "instances": self.instance_seconds * INSTANCE_SECOND,
        }


def checks_of(seconds: int) -> int:
    """Returns how often the LLM is asked about a job, on average, once the durations of such jobs are known."""
    jobs = [seconds * duration for duration in SPREAD]
    known = Durations()
    for job in jobs:
        known = known.merged(one_duration(job * 0.97, job, known=known))
    plan = RecheckPlan(chosen=best_plan(known))
    return round(fmean(plan.checks_until(timedelta(seconds=job)) + 1 for job in jobs))


def counts_of(seconds: int) -> Counts:
    checks, patrols = checks_of(seconds), seconds // PATROL_SECONDS
    return Counts(
        checks=checks,
        writes=4 + 2 + 1 + 1 / SAMPLED_RUNS,  # the run; a permit of each limit; the sums of usage; durations
        reads=3 + checks + patrols + LISTENER_READS + 1 / SAMPLED_RUNS,
        deletes=2 + 1,  # the permits; the run itself, by TTL
        task_operations=2 * checks + patrols,  # each task is created and dispatched
        requests=2 + checks + 1,  # submit_run, process_run; recheck_run; a stream
        instance_seconds=(SUBMIT_SECONDS + START_SECONDS + checks * CHECK_SECONDS + seconds / STREAMS_PER_INSTANCE),
    )


def page_reads(runs: int, *, offset: int = 0, limit: int = PAGE) -> int:
    """Returns the reads that Firestore bills for one page of a list of so many runs, and for its total.

    It reads what an offset leaves out, one run more than it shows, and an index entry for each run that it counts:
    a thousand of these are one read. https://cloud.google.com/firestore/pricing#aggregation_queries
    """
    return min(offset + limit + 1, runs) + max(ceil(min(runs, MAX_COUNTED) / COUNTED_A_READ), 1)


def page_table() -> str:
    """Returns a table of Markdown: reads of one page, and USD for a million of them."""
    rows = [
        [
            f"{runs:,}",
            *(
                f"{reads}, {MILLION * reads * READ:.2f}"
                for reads in (page_reads(runs), page_reads(runs, offset=MAX_OFFSET))
            ),
        ]
        for runs in LISTED
    ]
    lines = [
        ["runs of the user", "by `cursor`: reads, USD", f"with `offset` {MAX_OFFSET}: reads, USD"],
        ["---"] * 3,
        *rows,
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table() -> str:
    """Returns a table of Markdown: counts of one run, then USD for a million."""
    counts = {name: counts_of(seconds) for name, seconds in LENGTHS.items()}
    fields = ("checks", "writes", "reads", "deletes", "task_operations", "requests")
    rows = [
        [f"{field.replace('_', ' ')} of one run", *(f"{getattr(of, field):g}" for of in counts.values())]
        for field in fields
    ]
    rows.append(["instance seconds of one run", *(f"{of.instance_seconds:.2f}" for of in counts.values())])
    prices = [of.prices() for of in counts.values()]
    rows += [[f"{item}, USD", *(f"{MILLION * price[item]:.2f}" for price in prices)] for item in prices[0]]
    rows.append(["**a million runs, USD**", *(f"**{MILLION * sum(price.values()):.2f}**" for price in prices)])
    lines = [["the LLM works for", *LENGTHS], ["---"] * (len(LENGTHS) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(f"{table()}\n\n{page_table()}")
