"""Answers conditional requests (RFC 9110, section 13), so that a client loads an unchanged response only once."""

from hashlib import sha256
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from shared.web.json_response import JsonResponse


def unless_known(request: Request, response: Response) -> Response:
    """Returns the response with an ETag, or 304 without a body when If-None-Match has the same ETag.

    Returns a response unchanged unless it is the JSON body of a successful GET or HEAD request.
    """
    if request.method not in ("GET", "HEAD") or not isinstance(response, JsonResponse):
        return response
    if response.status_code != HTTPStatus.OK:
        return response
    etag = f'"{sha256(response.body).hexdigest()[:32]}"'
    response.headers["ETag"] = etag
    if not _matches(request.headers.get("if-none-match", ""), etag):
        return response
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)


def _matches(if_none_match: str, etag: str) -> bool:
    """Compares weakly, as RFC 9110, section 13.1.2 requires for If-None-Match."""
    known = [entry.strip().removeprefix("W/") for entry in if_none_match.split(",")]
    return if_none_match.strip() == "*" or etag in known
