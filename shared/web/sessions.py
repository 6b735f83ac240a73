"""Serves the routes of browser sessions: exchange a sign-in for a cookie, get the CSRF token, end the session."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared import log
from shared.domain import views
from shared.domain.fields import Fields
from shared.errors import Unauthenticated
from shared.services import Services
from shared.usecases.sessions import SESSION_LIFETIME
from shared.web import csrf, parse
from shared.web.auth import COOKIE, bearer_token, session_cookie
from shared.web.errors import error_response

MAX_BODY_BYTES = 16 * 1024


async def start(request: Request, services: Services) -> Response:
    """Takes the ID token as a bearer token or in a JSON body; no page of another origin can send either."""
    token = bearer_token(request) if "authorization" in request.headers else await _token_in_body(request)
    session = await services.sessions.start(token)
    response = JSONResponse({"success": True, "expires_at": views.timestamp(session.expires_at)})
    _set_cookie(request, response, session.cookie, seconds=int(SESSION_LIFETIME.total_seconds()))
    return response


async def end(request: Request, services: Services) -> Response:
    try:
        cookie = session_cookie(request)
        await services.sessions.verify(cookie)
        csrf.check(request, cookie, services.allowed_origins)
        await services.sessions.end(cookie)
    except Unauthenticated as error:
        return _no_session(request, error)
    response = JSONResponse({"success": True})
    _set_cookie(request, response, "", seconds=0)
    return response


async def csrf_token(request: Request, services: Services) -> Response:
    try:
        cookie = session_cookie(request)
        await services.sessions.verify(cookie)
    except Unauthenticated as error:
        return _no_session(request, error)
    return JSONResponse({"success": True, "csrf_token": csrf.token_of(cookie)})


async def _token_in_body(request: Request) -> str:
    fields = Fields(await parse.json_object(request, max_input_bytes=MAX_BODY_BYTES))
    token = fields.text("id_token", max_length=MAX_BODY_BYTES)
    fields.done()
    return token


def _no_session(request: Request, error: Unauthenticated) -> Response:
    """Answers 401 and removes a useless cookie, which no script can remove since it is HttpOnly."""
    log.info("request refused", code=error.code)
    response = error_response(error)
    if COOKIE in request.cookies:
        _set_cookie(request, response, "", seconds=0)
    return response


def _set_cookie(request: Request, response: Response, value: str, *, seconds: int) -> None:
    """Sets SameSite=Strict: only scripts of this site use the cookie."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path="/",
        secure=not csrf.is_plain_and_local(request),
        httponly=True,
        samesite="strict",
    )
