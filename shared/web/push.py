"""Reads and answers the requests of Google's services: Pub/Sub pushes (raw or as CloudEvents) and Cloud Tasks."""

from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from shared import log, tracing
from shared.domain.dead_letter import named_run
from shared.domain.fields import read_uuid
from shared.domain.json_text import from_text
from shared.domain.recheck_plan import Recheck
from shared.error_codes import ErrorCode
from shared.errors import CallerError, MalformedMessage, PermanentError, ServiceError
from shared.services import Services
from shared.tracing import SpanKind, TraceContext
from shared.web import health
from shared.web.auth import bearer_token
from shared.web.errors import error_response
from shared.web.json_response import JsonResponse

MAX_BODY_BYTES = 1024 * 1024
"""A dead letter keeps this much of its body."""

EventHandler = Callable[[Request, Services], Awaitable[None]]
"""Handles one event; raises a ServiceError."""


class Push(Struct, frozen=True, kw_only=True):
    """A Pub/Sub message. `data` is decoded as UTF-8, with a replacement character for each unreadable byte.

    `source` is the name of the subscription. `attributes` is {name: value}.
    """

    message_id: str
    source: str
    data: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Returns the run's id from data {"run_id": …}, data that is the bare id, or the attribute run_id.

        Raises MalformedMessage.
        """
        return _uuid(named_run(self.data, self.attributes))

    @property
    def run_id_or_none(self) -> str | None:
        """Returns the run's id, or None when the message names no run."""
        try:
            return self.run_id
        except MalformedMessage:
            return None


async def read_push(request: Request) -> Push:
    """Reads a push (https://cloud.google.com/pubsub/docs/push#receive_push); an Eventarc CloudEvent has the same body.

    Raises MalformedMessage.
    """
    body = await json_object(request)
    message = _message(body)
    try:
        data = b64decode(message.get("data") or "", validate=True).decode(errors="replace")
    except (ValueError, TypeError):
        data = str(message.get("data"))
    return Push(
        message_id=str(message.get("messageId") or message.get("message_id") or "unknown"),
        source=str(body.get("subscription") or "unknown"),
        data=data,
        attributes=_attributes(message),
    )


async def read_recheck(request: Request) -> Recheck:
    """Reads the body {run_id, attempt, sequence, checks} of a re-check task. Raises MalformedMessage."""
    body = await json_object(request)
    try:
        return Recheck(
            run_id=_uuid(body.get("run_id")),
            attempt=int(body.get("attempt") or 0),
            sequence=str(body.get("sequence") or ""),
            checks=int(body.get("checks") or 0),
        )
    except (TypeError, ValueError):
        raise MalformedMessage("The body is no re-check.") from None


async def answer_event(
    request: Request, services: Callable[[], Services], handle: EventHandler, *, source: str
) -> Response:
    """Answers 204 when the event is handled or can never be handled, and 500 when Google must deliver it again.

    An event that can never be handled is kept with the dead letters; `source` is the function's name there. A caller
    that is not the invoker gets 401.
    """
    if health.is_check(request):
        return await health.answer(request)
    return await _with_failures_answered(_answer_caller(request, services, handle, source))


async def _answer_caller(
    request: Request, services: Callable[[], Services], handle: EventHandler, source: str
) -> Response:
    provided = services()
    refusal = await _refuse_other_callers(request, provided)
    if refusal is not None:
        return refusal
    with tracing.span(source, SpanKind.CONSUMER, parent=await _trace_context(request)):
        response = await _with_failures_answered(_handle(request, provided, handle, source))
    await tracing.flush()
    return response


async def _handle(request: Request, services: Services, handle: EventHandler, source: str) -> Response:
    try:
        await handle(request, services)
    except (PermanentError, CallerError) as error:
        await _keep_dead_letter(request, services, error, source)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _with_failures_answered(answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except ServiceError as error:
        log.warning("event not handled; it is delivered again", code=error.code)
        return _failure(error.code)
    except Exception as error:  # noqa: BLE001 - the message is delivered again, at last to the dead letters
        log.failure("event failed", error)
        return _failure(ErrorCode.INTERNAL)


async def _trace_context(request: Request) -> TraceContext | None:
    """Returns the context that the publisher put on the message, or else that of the request.

    Cloud Run's front end adds a context to each request, also to a push, whose trace begins with the message.
    """
    try:
        attributes = _attributes(_message(await json_object(request)))
    except MalformedMessage:
        attributes = {}
    return tracing.context_of(attributes) or tracing.context_of(request.headers)


async def advance(services: Services, run_id: str, *, checks: int = 0) -> None:
    """Advances the run. An unexpected error is counted on the run, which fails when it is the cause again and again."""
    with log.bound(run_id=run_id):
        try:
            await services.advance(run_id, checks=checks)
        except ServiceError:
            raise
        except Exception:
            await services.advance.count_worker_error(run_id)
            raise


def _failure(code: str) -> Response:
    """Answers 500, since Cloud Tasks slows the whole queue after 429 and 503.

    https://cloud.google.com/tasks/docs/creating-http-target-tasks#handler
    """
    return JsonResponse({"success": False, "code": code}, status_code=HTTPStatus.INTERNAL_SERVER_ERROR)


async def _refuse_other_callers(request: Request, services: Services) -> Response | None:
    """Returns the response to a caller that is not the invoker, else None. Does not read the body."""
    if services.invoker is None:
        return None
    try:
        await services.invoker.verify(bearer_token(request))
    except ServiceError as error:
        log.warning("caller refused", code=error.code)
        return error_response(error)
    return None


async def _keep_dead_letter(request: Request, services: Services, error: ServiceError, source: str) -> None:
    """Raises StoreUnavailable; Google then delivers the event again."""
    body = (await request.body())[:MAX_BODY_BYTES].decode(errors="replace")
    headers = request.headers
    message_id = headers.get("x-cloudtasks-taskname") or headers.get("ce-id") or _message_id(body)
    log.error("dead letter kept", code=error.code, message_id=message_id)
    await services.dead_letters.keep(message_id=message_id, source=source, reason=error.code, data=body, attributes={})


def _message_id(body: str) -> str:
    return sha256(body.encode()).hexdigest()[:32]


def _message(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the message of a push's body. Raises MalformedMessage."""
    message = body.get("message")
    if not isinstance(message, dict):
        raise MalformedMessage("The body is no Pub/Sub push.")
    return message


def _attributes(message: Mapping[str, Any]) -> dict[str, str]:
    attributes = message.get("attributes")
    return {str(name): str(value) for name, value in attributes.items()} if isinstance(attributes, dict) else {}


async def json_object(request: Request) -> dict[str, Any]:
    """Returns the JSON object of the body. Raises MalformedMessage."""
    try:
        body = from_text(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise MalformedMessage("The body is no JSON object.")
    return body


def _uuid(value: Any) -> str:
    """Returns the UUID in lower case. Raises MalformedMessage."""
    if not isinstance(value, str):
        raise MalformedMessage
    try:
        return read_uuid("run_id", value)
    except CallerError:
        raise MalformedMessage from None
