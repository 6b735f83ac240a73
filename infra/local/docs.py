"""Serves Swagger UI for the API at /docs, and infra/openapi.yaml as JSON at /openapi.json."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from swagger_ui_bundle import swagger_ui_path

PAGE = Path(__file__).parent / "docs_page"
DOCUMENT = Path(__file__).parents[1] / "openapi.yaml"
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C takes a tenth of the second that the other takes; not every build of PyYAML has it."""
FILES = {
    "page.css": PAGE / "page.css",
    "page.js": PAGE / "page.js",
    "favicon-32x32.png": swagger_ui_path / "favicon-32x32.png",
    "swagger-ui.css": swagger_ui_path / "swagger-ui.css",
    "swagger-ui-bundle.js": swagger_ui_path / "swagger-ui-bundle.js",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def routes() -> list[Route]:
    """Returns the routes of /openapi.json, /docs and the files of that page."""
    files = [Route(f"/docs/{name}", _file(path)) for name, path in FILES.items()]
    page = _file(PAGE / "index.html")
    return [Route("/openapi.json", _document), Route("/docs", page), Route("/docs/", page), *files]


def _file(path: Path) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return FileResponse(path, headers=HEADERS)

    return endpoint


def _document(request: Request) -> Response:
    return JSONResponse(document(), headers=HEADERS)


@cache
def document() -> dict[str, Any]:
    """Returns infra/openapi.yaml, with the server of the page as its only server."""
    described: dict[str, Any] = yaml.load(DOCUMENT.read_text(encoding="utf-8"), YAML_LOADER)
    return {**described, "servers": [{"url": "/", "description": "The server of this page."}]}
