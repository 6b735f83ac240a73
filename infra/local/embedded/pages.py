"""Serves the pages of a front end with the functions: an existing file comes first, as on Firebase Hosting.

https://firebase.google.com/docs/hosting/full-config#hosting_priority_order
"""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope


class Pages:
    def __init__(self, folder: Path) -> None:
        """`folder` holds the pages. Raises RuntimeError when it does not exist."""
        self._files = StaticFiles(directory=folder.resolve(), html=True)

    async def find(self, scope: Scope) -> Response | None:
        """Returns the response with the file at a request's path; None when there is no file or it is no GET or HEAD.

        A path that ends in a slash means `index.html` in that folder.
        """
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        try:
            response = await self._files.get_response(self._files.get_path(scope), scope)
        except HTTPException:
            return None
        # StaticFiles answers with the folder's 404.html when there is one; the functions answer such a path instead.
        return None if response.status_code == 404 else response
