"""Serves the routes of browser sessions: exchange an ID token for a cookie, get the CSRF token, end the session."""

from starlette.requests import Request
from starlette.responses import Response

from shared import log
from shared.domain import views
from shared.domain.fields import Fields
from shared.errors import Unauthenticated
from shared.services import Services
from shared.usecases.sessions import SESSION_LIFETIME
from shared.web import auth, csrf, parse
from shared.web.auth import COOKIE, bearer_token, session_cookie
from shared.web.errors import error_response
from shared.web.json_response import JsonResponse

MAX_BODY_BYTES = 16 * 1024


async def start(request: Request, services: Services) -> Response:
    """Exchanges an ID token, sent as a bearer token or as {"id_token": …}, for a session cookie.

    It needs no CSRF token: a page of another origin can send neither without a preflight (see cors.py).
    """
    token = bearer_token(request) if "authorization" in request.headers else await _token_in_body(request)
    session = await services.sessions.start(token)
    response = JsonResponse({"success": True, "expires_at": views.timestamp(session.expires_at)})
    _set_cookie(request, response, session.cookie, seconds=int(SESSION_LIFETIME.total_seconds()))
    return response


async def end(request: Request, services: Services) -> Response:
    """Ends the session and removes its cookie."""
    try:
        cookie = session_cookie(request)
        await services.sessions.verify(cookie)
        csrf.check(request, cookie, services.allowed_origins)
        await services.sessions.end(cookie)
    except Unauthenticated as error:
        return _no_session(request, error)
    response = JsonResponse({"success": True})
    _set_cookie(request, response, "", seconds=0)
    return response


async def csrf_token(request: Request, services: Services) -> Response:
    """Answers with the CSRF token of the session."""
    try:
        cookie = session_cookie(request)
        await services.sessions.verify(cookie)
    except Unauthenticated as error:
        return _no_session(request, error)
    return JsonResponse({"success": True, "csrf_token": csrf.token_of(cookie)})


async def profile(request: Request, services: Services) -> Response:
    """Answers with who the caller is: the organization and the groups of their profile."""
    caller = await auth.caller(request, services)
    shown = {"organization_id": caller.organization_id, "groups": sorted(caller.groups)}
    return JsonResponse({"success": True, "user_id": caller.user_id, **shown})


async def _token_in_body(request: Request) -> str:
    fields = Fields(await parse.json_object(request, max_input_bytes=MAX_BODY_BYTES))
    token = fields.text("id_token", max_length=MAX_BODY_BYTES)
    fields.reject_unknown_fields()
    return token


def _no_session(request: Request, error: Unauthenticated) -> Response:
    """Answers 401 and removes the useless cookie: it is HttpOnly, so no script of the page can remove it."""
    log.info("request refused", code=error.code)
    response = error_response(error)
    if COOKIE in request.cookies:
        _set_cookie(request, response, "", seconds=0)
    return response


def _set_cookie(request: Request, response: Response, value: str, *, seconds: int) -> None:
    """Sets the session cookie for so many seconds; 0 removes it.

    With SameSite=Strict, browsers do not send the cookie with requests from other sites.
    """
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path="/",
        secure=not csrf.is_plain_and_local(request),
        httponly=True,
        samesite="strict",
    )
