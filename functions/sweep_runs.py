"""Handles the call of Cloud Scheduler, once a minute: repairs what lost messages and tasks left behind."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.web.push import answer_event


@functions_framework.aio.http
async def sweep_runs(request: Request) -> Response:
    services = wiring.services()

    async def handle() -> None:
        await services.sweep()

    return await answer_event(request, services, handle, source="sweep_runs")
