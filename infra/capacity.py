"""Computes which limit a growing load meets first, and what to change. `make capacity` prints it.

    python -m infra.capacity [RUNS_A_MINUTE [SECONDS]]

It is arithmetic over infra/cloud.json, the plan of re-checks and Google's published limits. Runs are spread evenly over
time, users and organizations, and their LLM works for so many seconds. tests/simulation/load.py measures what one run
needs, and plays the load against the limits.
"""

import math
import sys
from dataclasses import dataclass

from infra.cloud import CLOUD
from infra.cost import CHECK_SECONDS, START_SECONDS, SUBMIT_SECONDS, counts_of
from shared.domain.run import SHARDS
from shared.settings import Settings

RUNS_A_MINUTE, SECONDS = 60.0, 60
ORGANIZATIONS, MAX_OPEN_RUNS = 10, 1000
FACTORS = (1, 10, 100, 1000)
PUSHES_PER_SECOND = 140_000
"""Messages of 1 kB: 140 MB/s of push deliveries in a large region. https://cloud.google.com/pubsub/quotas"""
RISING_VALUES_PER_SECOND = 500
"""Writes to a collection with rising values of an indexed field. https://cloud.google.com/firestore/quotas"""
RAMP_START, RAMP_GROWTH, RAMP_MINUTES = 500, 1.5, 5
"""New traffic begins at 500 operations a second and grows by half in five minutes, as Firestore splits its ranges.

https://cloud.google.com/firestore/docs/best-practices#ramping_up_traffic
"""
SWEPT_PER_SECOND = 100_000 / 44
"""How many runs the sweeper handled in a second on one machine (tests/bench/sweep.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    name: str
    most: float
    needed: float
    change: str

    @property
    def factor(self) -> float:
        """Returns by how much the load may grow until it meets this limit."""
        return self.most / self.needed


def limits(runs_a_minute: float, seconds: int) -> list[Limit]:
    """Returns the limits in the order in which a growing load meets them."""
    rate, checks = runs_a_minute / 60, counts_of(seconds).checks
    is_open, queue = rate * seconds, CLOUD["queues"]["rechecks"]
    found = [
        Limit(
            name=f"dispatches of the queue `rechecks`: {queue['max_dispatches_per_second']}/s",
            most=queue["max_dispatches_per_second"],
            needed=rate * checks,
            change="more queues: spread runs over `rechecks-0` to `rechecks-n` by their shard",
        ),
        Limit(
            name=f"open dispatches of the queue `rechecks`: {queue['max_concurrent_dispatches']}",
            most=queue["max_concurrent_dispatches"],
            needed=rate * checks * CHECK_SECONDS,
            change="`max_concurrent_dispatches`, up to 5,000; then more queues",
        ),
        Limit(
            name=f"pushes of the subscription `process-run`: {PUSHES_PER_SECOND:,}/s",
            most=PUSHES_PER_SECOND,
            needed=rate,
            change="another region with its own topic and subscription",
        ),
        Limit(
            name=f"rising `due_at` in {SHARDS} shards: {SHARDS * RISING_VALUES_PER_SECOND:,} writes/s",
            most=SHARDS * RISING_VALUES_PER_SECOND,
            needed=rate * 4,
            change="`SHARDS` in shared/domain/run.py",
        ),
        Limit(
            name=f"open runs of one of {ORGANIZATIONS} organizations: {MAX_OPEN_RUNS:,}",
            most=MAX_OPEN_RUNS,
            needed=is_open / ORGANIZATIONS,
            change="`MAX_OPEN_RUNS`, up to 10,000",
        ),
        Limit(
            name=f"runs of a shard, which the sweeper reads in a minute: {60 * SWEPT_PER_SECOND:,.0f}",
            most=60 * SWEPT_PER_SECOND,
            needed=is_open / SHARDS,
            change="one scheduler's job and one sweeper for each part of the shards",
        ),
        *places(rate, is_open, checks),
    ]
    return sorted(found, key=lambda limit: limit.factor)


def places(rate: float, is_open: float, checks: int) -> list[Limit]:
    """Returns the limits of instances: requests at once, and threads of calls to LLMs."""
    threads = Settings().llm_threads
    needed = {
        "submit_run": rate * SUBMIT_SECONDS + is_open / 2,
        "read_runs": is_open / 2,
        "process_run": rate * START_SECONDS,
        "recheck_run": rate * checks * CHECK_SECONDS,
    }
    found = []
    for name, open_requests in needed.items():
        function = CLOUD["functions"][name]
        at_once = min(function["concurrency"], threads) if function["calls_llm"] else function["concurrency"]
        why = "threads of LLM calls" if at_once < function["concurrency"] else "requests"
        found.append(
            Limit(
                name=f"{why} of {name} at once: {function['max_instances']} × {at_once}",
                most=function["max_instances"] * at_once,
                needed=open_requests,
                change="`max_instances` in infra/cloud.json, and the project's quota of instances",
            )
        )
    return found


def ramp_minutes(writes_per_second: float) -> int:
    """Returns how long Firestore needs to get used to so many new writes a second."""
    if writes_per_second <= RAMP_START:
        return 0
    return RAMP_MINUTES * math.ceil(math.log(writes_per_second / RAMP_START, RAMP_GROWTH))


def report(runs_a_minute: float, seconds: int) -> str:
    """Returns two tables of Markdown: the limits, and what each load needs."""
    found = limits(runs_a_minute, seconds)
    lines = ["| limit | used | met at | change |", "|---|---|---|---|"]
    lines += [
        f"| {limit.name} | {limit.needed / limit.most:.2%} | {limit.factor:,.0f}× | {limit.change} |" for limit in found
    ]
    lines += [
        "",
        "| load | runs/s | open runs | checks/s | writes/s | time to ramp up | limits that are met |",
        f"|{'---|' * 7}",
    ]
    counts = counts_of(seconds)
    for factor in FACTORS:
        rate = runs_a_minute / 60 * factor
        met = sum(limit.factor < factor for limit in found)
        lines.append(
            f"| {factor:,}× | {rate:,.0f} | {rate * seconds:,.0f} | {rate * counts.checks:,.0f}"
            f" | {rate * counts.writes:,.0f} | {ramp_minutes(rate * counts.writes)} min"
            f" | {f'the first {met}' if met else 'none'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    given = sys.argv[1:3]
    runs, length = float(given[0]) if given else RUNS_A_MINUTE, int(given[1]) if len(given) > 1 else SECONDS
    print(f"{runs:g} runs a minute whose LLM works for {length} s\n\n{report(runs, length)}")
