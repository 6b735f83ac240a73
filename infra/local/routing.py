"""Maps paths to functions. It does so by path and not by method, as the rewrites of Firebase Hosting do.

https://firebase.google.com/docs/hosting/functions
"""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
FUNCTIONS = tuple(sorted(path.stem for path in (ROOT / "functions").glob("[a-z]*.py")))
"""The names of the deployed functions: each has a file of its own in functions/."""
PAGES = "pages"
"""The app of the console and of the API's documentation, which only the local hosts serve; no function's name."""

ROUTES: dict[str, str] = json.loads((ROOT / "infra" / "routes.json").read_text())
"""{path: function}, as in the cloud. A path that ends in a slash matches every path below it; the longest decides."""
PREFIXES = {**ROUTES, **dict.fromkeys(("/docs", "/docs/", "/openapi.json", "/console/", "/local/"), PAGES)}


def function_for(path: str, *, method: str = "POST") -> str:
    """Returns the name of the function that answers a request for this path, or PAGES.

    At the root, GET shows the console, as a file has priority on Firebase Hosting, and POST calls the function.
    """
    plain = path.rstrip("/") or "/"
    if plain == "/" and method in ("GET", "HEAD"):
        return PAGES
    return PREFIXES.get(plain) or PREFIXES[max((prefix for prefix in PREFIXES if _fits(prefix, plain)), key=len)]


def _fits(prefix: str, path: str) -> bool:
    return path.startswith(prefix) if prefix.endswith("/") else path == prefix
