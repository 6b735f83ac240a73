"""A front end's pages beside the functions: a file that is there is served, all else goes to them, as with Hosting.

https://firebase.google.com/docs/hosting/full-config#hosting_priority_order
"""

from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send


class Pages:
    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def find(self, scope: Scope) -> Path | None:
        """The file of a GET request's path, `index.html` for a folder's; never one outside."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or "\0" in scope["path"]:
            return None
        path = (self._folder / scope["path"].lstrip("/")).resolve()
        file = path / "index.html" if path.is_dir() else path
        return file if file.is_file() and path.is_relative_to(self._folder) else None

    async def serve(self, file: Path, scope: Scope, receive: Receive, send: Send) -> None:
        await FileResponse(file)(scope, receive, send)
