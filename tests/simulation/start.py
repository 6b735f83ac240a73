"""Starts the clients of a plan."""

import asyncio
from typing import TYPE_CHECKING, Any

from tests.simulation.followers import Intruder, Listener, Lister
from tests.simulation.plan import Client, Intrude, Listen, ListRuns, Submit
from tests.simulation.submitters import Submitter

if TYPE_CHECKING:
    from tests.simulation.world import World


def start_clients(world: "World") -> list[asyncio.Task[Any]]:
    """Starts every client of the plan; each waits for its time."""
    return [world.background(_client(world, entry).run()) for entry in world.plan.clients]


def _client(world: "World", entry: Client) -> Submitter | Listener | Lister | Intruder:
    match entry:
        case Submit():
            return Submitter(world, entry)
        case Listen():
            return Listener(world, entry)
        case ListRuns():
            return Lister(world, entry)
        case Intrude():
            return Intruder(world, entry)
