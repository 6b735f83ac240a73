"""A front end's pages beside the functions: a file that is there is served, all else goes to them, as with Hosting.

https://firebase.google.com/docs/hosting/full-config#hosting_priority_order
"""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope


class Pages:
    def __init__(self, folder: Path) -> None:
        self._files = StaticFiles(directory=folder.resolve(), html=True)

    async def find(self, scope: Scope) -> Response | None:
        """Returns the file of a GET or HEAD request's path, `index.html` for a folder's; None when there is none."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return None
        try:
            response = await self._files.get_response(self._files.get_path(scope), scope)
        except HTTPException:
            return None
        return (
            None if response.status_code == 404 else response
        )  # StaticFiles answers a miss with the folder's 404.html
