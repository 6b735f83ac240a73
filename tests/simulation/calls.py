"""What every call of a simulated port goes through: delays, outages, lost answers, crashes and freezes."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from shared.errors import ServiceError
from tests.simulation.faults import AtCall, CallFaultKind, Outage, OutageMode
from tests.simulation.history import FaultKind
from tests.simulation.instance import Instance, ProcessDied

T = TypeVar("T")
GIVES_UP_AFTER = {"queue": 1.5, "cache": 0.5}
"""Seconds until a call to a silent part ends; every call is bounded."""
OTHERS_GIVE_UP_AFTER = 8.0
QUICK = 0.55
"""The share of calls that take no time at all on the way there, and on the way back."""
MEAN_PAUSE = 0.02


class CallFaults:
    """Counts calls and finds the fault that the plan has for one of them."""

    def __init__(self, faults: list[AtCall]) -> None:
        self._faults: dict[tuple[str, str], dict[int, AtCall]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        for fault in faults:
            self._faults.setdefault((fault.call, fault.function), {}).update(
                dict.fromkeys(range(fault.nth, fault.nth + fault.times), fault)
            )
            self._counts[fault.call, fault.function] = 0

    def count_call(self, call: str, function: str) -> AtCall | None:
        if not self._faults:
            return None
        found = None
        for key in ((call, function), (call, "*"), ("*", function), ("*", "*")):
            if key in self._counts:
                self._counts[key] += 1
                found = self._faults[key].get(self._counts[key], found)
        return found


class Outages:
    """Tells which outage a part has at a time."""

    def __init__(self, outages: list[Outage]) -> None:
        self._outages: dict[str, list[Outage]] = {}
        for outage in outages:
            self._outages.setdefault(outage.part, []).append(outage)

    def of(self, part: str, now: float) -> Outage | None:
        outages = self._outages.get(part)
        if outages is None:
            return None
        return next((one for one in outages if one.start <= now < one.start + one.seconds), None)


class Calls:
    """The calls of one instance."""

    def __init__(self, instance: Instance) -> None:
        world = instance.world
        self._instance = instance
        self._call_faults = world.call_faults
        self._outages = world.outages
        self._random = world.random

    async def call(
        self, name: str, effect: Callable[[], T], *, error: Callable[[], ServiceError], about: str | None = None
    ) -> T:
        """Calls `effect` in the middle of the call, and returns what it returns.

        Raises `error` when the plan says so, and ProcessDied in a dead process. `name` is "{part}.{operation}";
        `about` is the id of the run that the call is about.
        """
        instance = self._instance
        if instance.is_dead:
            raise ProcessDied
        part = name.partition(".")[0]
        fault = self._call_faults.count_call(name, instance.function)
        outage = self._outages.of(part, instance.world.now)
        if fault is None and outage is None and instance.frozen_until <= instance.world.now:
            return await self._undisturbed(effect)
        if outage is not None:
            await self._outage(outage, part, effect, error, about)
        if fault is not None:
            return await self._disturbed(name, fault, effect, error, about)
        await self.alive()
        result = effect()
        await self.alive()
        return result

    async def _undisturbed(self, effect: Callable[[], T]) -> T:
        random = self._random.random
        if random() > QUICK:
            await asyncio.sleep(random() * 2 * MEAN_PAUSE)
            await self.alive()
        result = effect()
        if random() > QUICK:
            await asyncio.sleep(random() * 2 * MEAN_PAUSE)
            await self.alive()
        return result

    async def _outage(
        self, outage: Outage, part: str, effect: Callable[[], T], error: Callable[[], ServiceError], about: str | None
    ) -> None:
        """Returns only when the call succeeds after all."""
        self._record_fault(about, FaultKind.OUTAGE, part, str(outage))
        if outage.mode is OutageMode.SLOW:
            await asyncio.sleep(self._random.uniform(0.3, 5))
            return
        if outage.mode is OutageMode.HANGS:
            has_effect = self._random.random() < 0.3
            await asyncio.sleep(self._random.random())
            await self.alive()
            if has_effect:
                effect()
            await asyncio.sleep(GIVES_UP_AFTER.get(part, OTHERS_GIVE_UP_AFTER))
        await self.alive()
        raise error()

    async def _disturbed(
        self, name: str, fault: AtCall, effect: Callable[[], T], error: Callable[[], ServiceError], about: str | None
    ) -> T:
        instance = self._instance
        self._record_fault(about, FaultKind.CALL, name.partition(".")[0], str(fault))
        instance.world.log(instance.name, f"meets a fault: {fault}")
        await self.alive()
        if fault.kind is CallFaultKind.CRASH_BEFORE:
            instance.die(str(fault))
        elif fault.kind is CallFaultKind.FREEZE_BEFORE:
            instance.freeze(fault.seconds, str(fault))
        elif fault.kind is CallFaultKind.SLOW:
            await asyncio.sleep(fault.seconds / 2)
        elif fault.kind is CallFaultKind.FAIL:
            raise error()
        await self.alive()
        result = effect()
        if fault.kind is CallFaultKind.CRASH_AFTER:
            instance.die(str(fault))
        elif fault.kind is CallFaultKind.FREEZE_AFTER:
            instance.freeze(fault.seconds, str(fault))
        elif fault.kind is CallFaultKind.SLOW:
            await asyncio.sleep(fault.seconds / 2)
        elif fault.kind is CallFaultKind.LATE_ANSWER:
            await asyncio.sleep(fault.seconds)
        await self.alive()
        if fault.kind is CallFaultKind.LOSE_ANSWER:
            raise error()
        return result

    async def alive(self) -> None:
        """Waits while the process stands still. Raises ProcessDied when it is gone."""
        if self._instance.frozen_until > self._instance.world.now:
            await self._instance.thaw()
        if self._instance.is_dead:
            raise ProcessDied

    def _record_fault(self, about: str | None, kind: FaultKind, part: str, text: str) -> None:
        self._instance.world.record_fault(about, text, kind=kind, part=part)
