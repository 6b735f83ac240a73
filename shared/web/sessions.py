"""The three routes that trade a sign-in for a session's cookie, prove that a page is ours, and end the session."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared import log, wiring
from shared.domain.fields import Fields
from shared.errors import Unauthenticated
from shared.usecases.sessions import LASTING
from shared.web import csrf, parse, render
from shared.web.auth import COOKIE, bearer_token, session_cookie
from shared.web.errors import error_response

MAX_BODY_BYTES = 16 * 1024


async def start(request: Request) -> Response:
    """The ID token comes as a bearer token, or else in a JSON body: no page of another origin can send either."""
    services = wiring.services()
    token = bearer_token(request) if "authorization" in request.headers else await _token_in_body(request)
    session = await services.sessions.start(token)
    response = JSONResponse({"success": True, "expires_at": render.time(session.expires_at)})
    _set_cookie(request, response, session.cookie, seconds=int(LASTING.total_seconds()))
    return response


async def end(request: Request) -> Response:
    services = wiring.services()
    try:
        cookie = session_cookie(request)
        await services.sessions.verify(cookie)
        csrf.check(request, cookie)
        await services.sessions.end(cookie)
    except Unauthenticated as error:
        return _no_session(request, error)
    response = JSONResponse({"success": True})
    _set_cookie(request, response, "", seconds=0)
    return response


async def csrf_token(request: Request) -> Response:
    try:
        cookie = session_cookie(request)
        await wiring.services().sessions.verify(cookie)
    except Unauthenticated as error:
        return _no_session(request, error)
    return JSONResponse({"success": True, "csrf_token": csrf.token_of(cookie)})


async def _token_in_body(request: Request) -> str:
    fields = Fields(await parse.json_object(request, max_input_bytes=MAX_BODY_BYTES))
    token = fields.text("id_token", max_length=MAX_BODY_BYTES)
    fields.reject_unknown_fields()
    return token


def _no_session(request: Request, error: Unauthenticated) -> Response:
    """The answer that everybody gets; and a cookie that is good for nothing goes, for pages cannot take it away."""
    log.info("request refused", code=error.code)
    response = error_response(error)
    if COOKIE in request.cookies:
        _set_cookie(request, response, "", seconds=0)
    return response


def _set_cookie(request: Request, response: Response, value: str, *, seconds: int) -> None:
    """Strict: only pages of this site use it, and all of them from scripts."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path="/",
        secure=not csrf.is_plain_and_local(request),
        httponly=True,
        samesite="strict",
    )
