"""Serves the routes of webhooks, for members of the group `admins`."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shared.domain.directory import Profile
from shared.domain.webhook_fields import new_endpoint
from shared.domain.webhook_views import delivery_object, endpoint_object
from shared.ports import DeliveryPosition
from shared.services import Services
from shared.web import auth, list_query, parse
from shared.web.cursor import decode_delivery_cursor, encode_delivery_cursor
from shared.web.json_response import JsonResponse
from shared.web.routes import Route


async def create(request: Request, services: Services) -> Response:
    """Makes an endpoint. Its secret stands in this answer only."""
    caller = await _admin(request, services)
    wanted = new_endpoint(await parse.json_object(request, max_input_bytes=0))
    endpoint, secret = await services.webhooks.create(caller, wanted)
    return _answer(webhook=endpoint_object(endpoint), secret=secret)


async def show_all(request: Request, services: Services) -> Response:
    """Answers with all endpoints of the organization, and whether submits may name webhooks of their own."""
    found = await services.webhooks.all(await _admin(request, services))
    webhooks = [endpoint_object(endpoint) for endpoint in found.endpoints]
    return _answer(webhooks=webhooks, has_secret=bool(found.secrets))


async def show(request: Request, services: Services, webhook_id: str) -> Response:
    endpoint = await services.webhooks.get(await _admin(request, services), webhook_id)
    return _answer(webhook=endpoint_object(endpoint))


async def make_secret(request: Request, services: Services) -> Response:
    """Makes the secret that signs the webhooks of submits. It stands in this answer only."""
    return _answer(secret=await services.webhooks.make_secret(await _admin(request, services)))


async def rotate(request: Request, services: Services, webhook_id: str) -> Response:
    """Makes a new secret of the endpoint. It stands in this answer only."""
    endpoint, secret = await services.webhooks.rotate(await _admin(request, services), webhook_id)
    return _answer(webhook=endpoint_object(endpoint), secret=secret)


async def enable(request: Request, services: Services, webhook_id: str) -> Response:
    endpoint = await services.webhooks.enable(await _admin(request, services), webhook_id)
    return _answer(webhook=endpoint_object(endpoint))


async def disable(request: Request, services: Services, webhook_id: str) -> Response:
    endpoint = await services.webhooks.disable(await _admin(request, services), webhook_id)
    return _answer(webhook=endpoint_object(endpoint))


async def delete(request: Request, services: Services, webhook_id: str) -> Response:
    await services.webhooks.delete(await _admin(request, services), webhook_id)
    return _answer()


async def send_test(request: Request, services: Services, webhook_id: str) -> Response:
    """Sends a message that is about no run; the list of deliveries shows what came of it."""
    delivery = await services.webhooks.test(await _admin(request, services), webhook_id)
    return _answer(delivery=delivery_object(delivery))


async def list_deliveries(request: Request, services: Services, webhook_id: str) -> Response:
    """Answers with a page of the endpoint's deliveries, newest first."""
    caller = await _admin(request, services)
    limit, cursor = list_query.page_of(request.query_params)
    after = decode_delivery_cursor(cursor, webhook_id) if cursor else None
    page = await services.webhooks.deliveries(caller, webhook_id, limit=limit, after=after)
    return _answer(
        deliveries=[delivery_object(delivery) for delivery in page.deliveries],
        limit=limit,
        next_cursor=_next(page.next_cursor, webhook_id),
    )


async def redeliver(request: Request, services: Services, webhook_id: str, delivery_id: str) -> Response:
    """Begins the tries of a delivery anew."""
    caller = await _admin(request, services)
    return _answer(delivery=delivery_object(await services.webhooks.redeliver(caller, webhook_id, delivery_id)))


WEBHOOK_ROUTES = (
    Route("POST", "/api/webhooks", create),
    Route("GET", "/api/webhooks", show_all),
    Route("POST", "/api/webhooks/secret", make_secret),
    Route("GET", "/api/webhooks/{webhook_id}", show),
    Route("DELETE", "/api/webhooks/{webhook_id}", delete),
    Route("POST", "/api/webhooks/{webhook_id}/rotate", rotate),
    Route("POST", "/api/webhooks/{webhook_id}/test", send_test),
    Route("POST", "/api/webhooks/{webhook_id}/enable", enable),
    Route("POST", "/api/webhooks/{webhook_id}/disable", disable),
    Route("GET", "/api/webhooks/{webhook_id}/deliveries", list_deliveries),
    Route("POST", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", redeliver),
)


async def _admin(request: Request, services: Services) -> Profile:
    return await auth.caller(request, services, group="admins")


def _answer(**body: Any) -> Response:
    return JsonResponse({"success": True, **body})


def _next(position: DeliveryPosition | None, webhook_id: str) -> str | None:
    return encode_delivery_cursor(position, webhook_id) if position else None
