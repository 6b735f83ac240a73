"""Lists runs of the kinds admin run and user run. Two functions serve this list, because routes go by path."""

from starlette.requests import Request
from starlette.responses import Response

from shared.domain import views
from shared.services import Services
from shared.web import auth, list_query, render


async def list_user_runs(request: Request, services: Services) -> Response:
    """Answers with a page of the caller's runs of the kinds admin run and user run, newest first."""
    caller = await auth.caller(request, services)
    return await page(services, list_query.user_run_query(list_query.from_query(request.query_params), caller))


async def page(services: Services, query: list_query.ListQuery) -> Response:
    """Answers with the page that the query asks for."""
    found = await services.read.page(query.wanted, limit=query.limit, offset=query.offset, after=query.after)
    shown = [views.user_run_object(run, await services.read.input_of(run)) for run in found.runs]
    return render.page(found, query, runs=shown)
