"""Told by Pub/Sub of a dead letter: the run fails visibly, the message is kept."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.web import health
from shared.web.push import answer_event, read_push


@functions_framework.aio.http
async def bury_run(request: Request) -> Response:
    if health.is_check(request):
        return await health.answer(request)
    services = wiring.services()

    async def handle() -> None:
        push = await read_push(request)
        await services.bury(
            run_id=push.run_id_or_none,
            message_id=push.message_id,
            source=push.source,
            data=push.data,
            attributes=push.attributes,
        )

    return await answer_event(request, services, handle, source="bury_run")
