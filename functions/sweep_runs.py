"""Handles the call of Cloud Scheduler, once a minute: continues runs whose messages or tasks were lost."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.services import Services
from shared.web.push import answer_event


async def _handle(request: Request, services: Services) -> None:
    await services.sweep()


@functions_framework.aio.http
async def sweep_runs(request: Request) -> Response:
    """Handles one call of the scheduler."""
    return await answer_event(request, wiring.services, _handle, source="sweep_runs")
