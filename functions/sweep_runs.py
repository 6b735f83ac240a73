"""Called by Cloud Scheduler every minute: repairs whatever a lost message or task left behind."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.web import health
from shared.web.push import answer_event


@functions_framework.aio.http
async def sweep_runs(request: Request) -> Response:
    if health.is_check(request):
        return await health.answer(request)
    services = wiring.services()

    async def handle() -> None:
        await services.sweep()

    return await answer_event(request, services, handle, source="sweep_runs")
