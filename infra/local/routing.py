"""Which function answers which path. Firebase Hosting has the same rewrites: by path, not by method.

Only the local host has the API's documentation; `DOCS` names the app that stands beside the functions for it.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
FUNCTIONS = tuple(sorted(path.stem for path in (ROOT / "functions").glob("[a-z]*.py")))
"""The names of the deployed functions: each has a file of its own in functions/."""
DOCS = "docs"

PREFIXES = {
    "/llm_user_runs_admin": "submit_run",
    "/llm_user_runs": "submit_run",
    "/llm_user_runs/": "read_runs",
    "/api/llm/jobs/submit": "submit_run",
    "/api/llm/trainer-analysis": "submit_run",
    "/submit_run": "submit_run",
    "/read_runs": "read_runs",
    "/docs": DOCS,
    "/docs/": DOCS,
    "/openapi.json": DOCS,
    "/": "read_runs",
}
"""The longest that fits decides; one that ends in a slash fits everything below it."""


def function_for(path: str) -> str:
    """Returns the function, or DOCS, that answers a request for this path."""
    plain = path.rstrip("/") or "/"
    return PREFIXES[max((prefix for prefix in PREFIXES if _fits(prefix, plain)), key=len)]


def _fits(prefix: str, path: str) -> bool:
    return path.startswith(prefix) if prefix.endswith("/") else path == prefix
