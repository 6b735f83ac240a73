"""Pub/Sub's push: at least once, unordered, with a window that nacks shrink and a backoff of the subscription."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.domain.status import Lane
from shared.errors import QueueUnavailable
from tests.simulation.calls import Calls
from tests.simulation.deliveries import FunctionCaller, push_body
from tests.simulation.faults import DeliveryFaultKind, LoseAll
from tests.simulation.history import FaultKind

if TYPE_CHECKING:
    from tests.simulation.world import World

FIRST_WINDOW = 3
MAX_WINDOW = 64
FIRST_BACKOFF = 0.1
MAX_BACKOFF = 30.0
MAX_DELIVERIES = 20
JITTER = 0.2


@dataclass(slots=True, kw_only=True)
class Message:
    id: str
    run_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    deliveries: int = 0


class Subscription:
    """Pushes to one function. Without `dead_letters` a message is delivered until it is acknowledged."""

    def __init__(
        self, world: "World", caller: FunctionCaller, *, function: str, dead_letters: "Subscription | None" = None
    ) -> None:
        self._world = world
        self._caller = caller
        self._function = function
        self._dead_letters = dead_letters
        self._delivery_faults = world.delivery_faults["queue"]
        self._ready: list[Message] = []
        self._epoch = 0
        """Rises when everything is lost; what was put in before counts no longer."""
        self._outstanding = 0
        self._window = FIRST_WINDOW
        self._nacks = 0
        self._paused_until = 0.0
        self._published = 0

    def publish(self, run_id: str) -> None:
        self._published += 1
        message = Message(id=f"{self._function}-{self._published}", run_id=run_id)
        fault = self._delivery_faults.next()
        if fault is not None:
            self._world.record_fault(run_id, str(fault), kind=FaultKind.DELIVERY, part="queue")
        if fault is not None and fault.kind is DeliveryFaultKind.LOST:
            return
        late = fault.seconds if fault is not None and fault.kind is DeliveryFaultKind.LATE else 0.0
        self._put(message, after=late + self._delay())
        if fault is not None and fault.kind is DeliveryFaultKind.TWICE:
            self._put(Message(id=message.id, run_id=run_id), after=fault.seconds + self._world.random.random() * JITTER)

    def _delay(self) -> float:
        """Returns the seconds until a message is delivered: some come before their publisher goes on."""
        return max(self._world.random.random() - 0.3, 0.0) * JITTER

    def take_dead(self, message: Message) -> None:
        count = {"CloudPubSubDeadLetterSourceDeliveryCount": str(message.deliveries)}
        self._put(Message(id=message.id, run_id=message.run_id, attributes=count), after=JITTER)

    def lose_all(self, fault: LoseAll) -> None:
        for message in self._ready:
            self._world.record_fault(message.run_id, str(fault), kind=FaultKind.DELIVERY, part="queue")
        self._world.record_fault(None, str(fault), kind=FaultKind.DELIVERY, part="queue")
        self._ready.clear()
        self._epoch += 1

    def _put(self, message: Message, *, after: float) -> None:
        self._world.loop.call_later(after, self._arrive, message, self._epoch)

    def _arrive(self, message: Message, epoch: int) -> None:
        if epoch == self._epoch:
            self._ready.append(message)
            self._pump()
        else:
            self._world.record_fault(message.run_id, "the queue lost everything", kind=FaultKind.DELIVERY, part="queue")

    def _pump(self) -> None:
        """Starts deliveries while there are messages and room."""
        now = self._world.now
        pause = self._delivery_faults.paused_until(now)
        if pause is not None:
            self._paused_until = max(self._paused_until, pause)
            for message in self._ready:
                self._world.record_fault(message.run_id, "the queue is paused", kind=FaultKind.DELIVERY, part="queue")
        if now < self._paused_until:
            if self._ready:
                self._world.loop.call_at(self._paused_until, self._pump)
            return
        while self._ready and self._outstanding < self._window:
            message = self._ready.pop(self._world.random.randrange(len(self._ready)))
            self._outstanding += 1
            self._world.background(self._deliver(message, self._epoch))

    async def _deliver(self, message: Message, epoch: int) -> None:
        message.deliveries += 1
        body = push_body(message.id, message.run_id, attributes=message.attributes, subscription=self._function)
        status = await self._caller.call(
            self._function, body, within=self._world.plan.settings.ack_deadline, about=message.run_id
        )
        self._world.log(self._function, f"{message.id} of {message.run_id[-4:]}: {status}")
        self._outstanding -= 1
        if 200 <= status < 300:
            self._window, self._nacks = min(self._window * 2, MAX_WINDOW), 0
        else:
            self._nack(message, status, epoch)
        self._pump()

    def _nack(self, message: Message, status: int, epoch: int) -> None:
        self._nacks += 1
        self._window = max(self._window // 2, 1)
        pause = min(FIRST_BACKOFF * 2**self._nacks, MAX_BACKOFF)
        self._paused_until = max(self._paused_until, self._world.now + pause)
        self._world.record_fault(
            message.run_id, f"{self._function} answered {status}", kind=FaultKind.DELIVERY, part="queue"
        )
        self._world.record_fault(None, f"{self._function} answered {status}", kind=FaultKind.DELIVERY, part="queue")
        is_last = self._dead_letters is not None and message.deliveries >= MAX_DELIVERIES
        if epoch != self._epoch or is_last:
            self._world.record_fault(message.run_id, "the message is lost", kind=FaultKind.LOSS, part="queue")
        if epoch != self._epoch:
            return
        if self._dead_letters is not None and is_last:
            self._world.history.undelivered.append((self._world.now, message.run_id))
            self._dead_letters.take_dead(message)
        else:
            self._put(message, after=min(2.0 ** (message.deliveries - 1), MAX_BACKOFF))


class SimulatedRunQueue:
    """The queue as one instance reaches it."""

    def __init__(self, subscriptions: Mapping[Lane, Subscription], calls: Calls) -> None:
        self._subscriptions = subscriptions
        self._calls = calls

    async def publish(self, run_id: str, *, lane: Lane) -> None:
        await self._calls.call(
            "queue.publish", lambda: self._subscriptions[lane].publish(run_id), error=QueueUnavailable, about=run_id
        )
