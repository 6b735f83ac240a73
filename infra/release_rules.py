"""Releases infra/firestore.rules: gcloud has no command for that. Changes nothing when these rules are in force.

python -m infra.release_rules PROJECT DATABASE, with an access token on standard input.
https://firebase.google.com/docs/reference/rules/rest
"""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

RULES = Path(__file__).parent / "firestore.rules"
API = "https://firebaserules.googleapis.com/"


def release(project: str, database: str, token: str, *, api: str) -> bool:
    """Returns True when the release has changed. Raises HTTPError when Google refuses."""
    name = "cloud.firestore" if database == "(default)" else f"cloud.firestore/{database}"
    path, content = f"projects/{project}/releases/{name}", RULES.read_text()
    call = _Caller(f"{api}v1/", token, project)
    present = call("GET", path, missing_is_none=True)
    if present is not None:
        files = call("GET", present["rulesetName"])["source"]["files"]
        if [file["content"] for file in files] == [content]:
            return False
    source = {"source": {"files": [{"name": RULES.name, "content": content}]}}
    ruleset = call("POST", f"projects/{project}/rulesets", source)["name"]
    wanted = {"name": path, "rulesetName": ruleset}
    if present is None:
        call("POST", f"projects/{project}/releases", wanted)
    else:
        call("PATCH", path, {"release": wanted})
    return True


class _Caller:
    def __init__(self, base: str, token: str, project: str) -> None:
        self._base = base
        self._headers = {"Authorization": f"Bearer {token}", "X-Goog-User-Project": project}

    def __call__(self, method: str, path: str, body: Any = None, *, missing_is_none: bool = False) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except HTTPError as error:
            if missing_is_none and error.code == 404:
                return None
            raise


if __name__ == "__main__":
    project, database, *api = sys.argv[1:]
    changed = release(project, database, sys.stdin.read().strip(), api=api[0] if api else API)
    print("released" if changed else "in force already")
