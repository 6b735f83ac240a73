"""Keeps the queues of the Cloud Tasks emulator: their limits, and which of them are paused."""

from collections.abc import Collection

from google.cloud.tasks_v2.types import Queue, RateLimits

from infra.local.pacing import DispatchRate

MAX_DISPATCHES_PER_SECOND, MAX_BURST, MAX_CONCURRENT_DISPATCHES = 500.0, 100, 1000
"""What a queue has unless it says otherwise.

https://cloud.google.com/tasks/docs/reference/rpc/google.cloud.tasks.v2#ratelimits
"""


class Queues:
    """Queues by their full name. An unset limit of a queue gets Google's default."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._queues

    def __getitem__(self, name: str) -> Queue:
        return self._queues[name]

    def create(self, queue: Queue) -> Queue:
        """Keeps the queue, in the state RUNNING, and returns it with all its limits."""
        limits = queue.rate_limits
        rate = limits.max_dispatches_per_second or MAX_DISPATCHES_PER_SECOND
        kept = Queue(queue)
        kept.rate_limits = RateLimits(
            max_dispatches_per_second=rate,
            max_burst_size=max(min(MAX_BURST, round(rate)), 1),
            max_concurrent_dispatches=limits.max_concurrent_dispatches or MAX_CONCURRENT_DISPATCHES,
        )
        self._queues[queue.name] = kept
        return self.resume(queue.name)

    def pause(self, name: str) -> Queue:
        return self._set_state(name, Queue.State(Queue.State.PAUSED))

    def resume(self, name: str) -> Queue:
        return self._set_state(name, Queue.State(Queue.State.RUNNING))

    def _set_state(self, name: str, state: Queue.State) -> Queue:
        self._queues[name].state = state
        return self._queues[name]

    def running(self) -> Collection[str]:
        """Returns the names of the queues that are not paused."""
        return [name for name, queue in self._queues.items() if queue.state == Queue.State.RUNNING]

    def rate_of(self, name: str) -> DispatchRate:
        """Returns the dispatch rate with which the queue starts."""
        limits = self._queues[name].rate_limits
        return DispatchRate(
            max_rate=limits.max_dispatches_per_second,
            max_burst=limits.max_burst_size,
            max_in_flight=limits.max_concurrent_dispatches,
        )
