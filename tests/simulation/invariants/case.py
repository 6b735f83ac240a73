"""What the invariants look at: a plan, its history, and both sorted by run."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property

from msgspec import Struct

from shared.domain.repair import has_answer_in_hand
from shared.domain.run import Run
from tests.simulation.faults import Outage, Rollout, Skew
from tests.simulation.history import Commit, FaultKind, History, MetFault, PaidCall
from tests.simulation.instance import EPOCH
from tests.simulation.llm import Job
from tests.simulation.plan import Plan, Submit
from tests.simulation.script import LlmScript

MAX_FINAL_BACKOFF = 60.0
"""The longest pause of queue and timers between two deliveries."""
MAX_HANDLING = 130.0
"""The longest that a last delivery takes: a synchronous call and the saving of its answer."""


class Case(Struct, frozen=True, dict=True):
    plan: Plan
    history: History

    @cached_property
    def commits(self) -> Mapping[str, list[Commit]]:
        """{run id: its commits, in order}"""
        by_run: dict[str, list[Commit]] = defaultdict(list)
        for commit in self.history.commits:
            by_run[commit.run_id].append(commit)
        return by_run

    @cached_property
    def created(self) -> Mapping[str, Commit]:
        """{run id: the commit that accepted it}"""
        return {run_id: commits[0] for run_id, commits in self.commits.items() if commits[0].before is None}

    @cached_property
    def ended(self) -> Mapping[str, Commit]:
        """{run id: the first commit that ended it}"""
        return {
            commit.run_id: commit
            for commit in reversed(self.history.commits)
            if commit.after.is_terminal and commit.before is not None and not commit.before.is_terminal
        }

    @cached_property
    def paid(self) -> Mapping[str, list[PaidCall]]:
        """{run id: the calls that its LLM billed}"""
        by_run: dict[str, list[PaidCall]] = defaultdict(list)
        for call in self.history.paid:
            by_run[call.run_id].append(call)
        return by_run

    @cached_property
    def jobs(self) -> Mapping[str, list[Job]]:
        by_run: dict[str, list[Job]] = defaultdict(list)
        for job in self.history.jobs.values():
            by_run[job.run_id].append(job)
        return by_run

    @cached_property
    def submits(self) -> Mapping[str, list[Submit]]:
        """{script id: the plan's submits with it}"""
        by_script: dict[str, list[Submit]] = defaultdict(list)
        for submit in self.plan.submits:
            by_script[submit.script_id].append(submit)
        return by_script

    @cached_property
    def max_skew(self) -> float:
        skews = [abs(fault.seconds) for fault in self.plan.faults if isinstance(fault, Skew)]
        return max(skews, default=0.0) if self.plan.settings.firestore else 0.0

    @cached_property
    def is_undisturbed(self) -> bool:
        """Returns whether the plan has no faults, and neither has any of its scripts."""
        return not self.plan.faults and not any(self._has_llm_faults(submit) for submit in self.plan.submits)

    def _has_llm_faults(self, submit: Submit) -> bool:
        return submit.llm.has_faults or (submit.family == "chat" and submit.llm.takes >= self.plan.settings.chat)

    @cached_property
    def has_rollout(self) -> bool:
        return any(isinstance(fault, Rollout) for fault in self.plan.faults)

    def repairs_begun(self, run_id: str) -> list[Commit]:
        """Returns the commits that saved a first answer, which the LLM is to repair."""
        return [
            commit
            for commit in self.commits.get(run_id, ())
            if commit.before is not None and not commit.before.result and has_answer_in_hand(commit.after)
        ]

    def script(self, run_id: str) -> LlmScript:
        return self.submits[self.history.script_ids[run_id]][0].llm

    def faults(self, run_id: str, *kinds: FaultKind) -> list[MetFault]:
        return [fault for fault in self.history.faults.get(run_id, ()) if fault.kind in kinds]

    def lost_workers(self, run_id: str) -> list[MetFault]:
        """Returns when a process with the run in hand died or stood still."""
        return self.faults(run_id, FaultKind.CRASH, FaultKind.FREEZE)

    def llm_call_faults(self, run_id: str) -> list[MetFault]:
        """Returns the faults between a worker and the LLM."""
        return [fault for fault in self.faults(run_id, FaultKind.CALL, FaultKind.OUTAGE) if fault.part == "llm"]

    def turns(self, run_id: str) -> list[Commit]:
        """Returns the commits that sent the run to its next model."""
        commits = self.commits.get(run_id, ())
        return [one for one in commits if one.before is not None and one.before.fallbacks != one.after.fallbacks]

    def has_outage_of(self, part: str) -> bool:
        return any(isinstance(one, Outage) and one.part == part for one in self.plan.faults)

    def store_outage_seconds(self) -> float:
        """Returns how long the store was away in the plan, all outages together."""
        return sum(one.seconds for one in self.plan.faults if isinstance(one, Outage) and one.part == "store")

    def latest_end(self, run: Run) -> float:
        """Returns when an accepted run has ended at the latest, whatever happened.

        While an overdue run waits, the sweeper repairs it in pauses that double, so a fault delays it twice.
        """
        deadline = seconds(run.deadline_at)
        quiet = max(self.history.faults_ended_at, deadline)
        doubled = max(self.history.faults_ended_at - deadline, 0.0)
        repairs = 4 * self.plan.settings.sweep + MAX_FINAL_BACKOFF + MAX_HANDLING
        return quiet + doubled + repairs + 2 * self.max_skew


def seconds(moment: datetime) -> float:
    """Returns the virtual seconds of a time."""
    return (moment - EPOCH) / timedelta(seconds=1)


def short(run_id: str) -> str:
    return run_id[-4:]


Invariant = Callable[[Case], Iterator[str]]
"""Yields one sentence for each violation."""
