"""What Pub/Sub and Cloud Tasks share: a delivery to an instance, its bounded time, and the loss of single items."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from functions import bury_run, deliver_webhook, process_run, recheck_run, sweep_runs
from shared.errors import ServiceError, TransientError
from shared.services import Services
from shared.web.push import answer_event
from tests.simulation.faults import AtDelivery, Fault, NoCapacity, Pause
from tests.simulation.history import EventAnswer, FaultKind
from tests.simulation.instance import ConnectionLost, Instance

if TYPE_CHECKING:
    from tests.simulation.world import World

HANDLERS = {
    "process_run": process_run._handle,
    "recheck_run": recheck_run._handle,
    "sweep_runs": sweep_runs._handle,
    "bury_run": bury_run._handle,
    "deliver_webhook": deliver_webhook._handle,
}
TOO_MANY_REQUESTS = 429
NO_ANSWER = 504


def request_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
    """Returns a POST with this JSON body."""
    content = json.dumps(body).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope, receive)


def pubsub_data(run_id: str) -> str:
    """Returns the `data` of the message that names the run."""
    return b64encode(json.dumps({"run_id": run_id}).encode()).decode()


def push_body(message_id: str, run_id: str, *, attributes: Mapping[str, str], subscription: str) -> dict[str, Any]:
    return {
        "message": {"data": pubsub_data(run_id), "messageId": message_id, "attributes": dict(attributes)},
        "subscription": subscription,
    }


class FunctionCaller:
    """Calls internal functions as Google's services do."""

    def __init__(self, world: "World") -> None:
        self._world = world
        faults = world.plan.faults
        self._no_capacity = [fault for fault in faults if isinstance(fault, NoCapacity)]

    async def call(
        self,
        function: str,
        body: Mapping[str, Any],
        *,
        within: float,
        about: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Returns the status, NO_ANSWER after `within` seconds or a lost connection; the function then goes on."""
        world = self._world
        for fault in self._no_capacity:
            if fault.function == function and fault.start <= world.now < fault.start + fault.seconds:
                world.record_fault(about, str(fault), kind=FaultKind.DELIVERY, part="")
                return TOO_MANY_REQUESTS
        instance = world.instance_of(function)
        work = _serve(instance, function, request_of(body, headers or {}))
        task = instance.start(work, about=about)
        try:
            async with asyncio.timeout(within):
                status = await instance.answer(task)
        except ConnectionLost:
            return NO_ANSWER
        except TimeoutError:
            world.record_fault(about, f"{function} took longer than {within:g} s", kind=FaultKind.DELIVERY, part="")
            return NO_ANSWER
        return status


async def _serve(instance: Instance, function: str, request: Request) -> int:
    failures: list[ServiceError] = []

    async def handle(request: Request, services: Services) -> None:
        try:
            await HANDLERS[function](request, services)
        except TransientError as error:
            failures.append(error)
            raise
        except ServiceError:
            raise
        except Exception as error:
            instance.world.record_unexpected_error(function, error)
            raise

    response = await answer_event(request, lambda: instance.services, handle, source=function)
    world = instance.world
    answer = EventAnswer(
        at=world.now, function=function, status=response.status_code, is_transient_error=bool(failures)
    )
    world.history.answers.append(answer)
    return response.status_code


class DeliveryFaults:
    """Finds the fault that the plan has for the n-th item of a part, and when the part stands still."""

    def __init__(self, faults: Sequence[Fault], part: str) -> None:
        mine = [fault for fault in faults if isinstance(fault, AtDelivery) and fault.part == part]
        self._of = {number: fault for fault in mine for number in range(fault.nth, fault.nth + fault.times)}
        self._pauses = [one for one in faults if isinstance(one, Pause) and one.part == part]
        self._count = 0

    def next(self) -> AtDelivery | None:
        self._count += 1
        return self._of.get(self._count)

    def paused_until(self, now: float) -> float | None:
        """Returns the end of the pause that holds now, None without one."""
        ends = [one.start + one.seconds for one in self._pauses if one.start <= now < one.start + one.seconds]
        return max(ends, default=None)
