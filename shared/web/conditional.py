"""Conditional requests (RFC 9110, section 13): what a client has already need not be sent again."""

from hashlib import sha256
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def unless_known(request: Request, response: Response) -> Response:
    """The response with its ETag; 304 without a body when the client has this very one."""
    if request.method not in ("GET", "HEAD") or not isinstance(response, JSONResponse):
        return response
    if response.status_code != HTTPStatus.OK:
        return response
    etag = f'"{sha256(response.body).hexdigest()[:32]}"'
    response.headers["ETag"] = etag
    if not _matches(request.headers.get("if-none-match", ""), etag):
        return response
    kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)


def _matches(wanted: str, etag: str) -> bool:
    return wanted.strip() == "*" or etag in (entry.strip().removeprefix("W/") for entry in wanted.split(","))
