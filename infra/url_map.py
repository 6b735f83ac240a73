"""Prints the load balancer's path map, from infra/routes.json, for `gcloud compute url-maps import`.

python -m infra.url_map PROJECT DOMAIN
"""

import json
import sys
from typing import Any

from infra.cloud import INFRA

NAME = "llm-runs"
OTHERS = "read_runs"
"""The function that answers hosts other than the domain."""


def backend_of(function: str) -> str:
    """Returns the name of a function's network endpoint group and of its backend service."""
    return f"{NAME}-{function.replace('_', '-')}"


def url_map(project: str, domain: str) -> dict[str, Any]:
    """Returns the map. Whole paths come first; they match with a slash at their end, too. Then the longest beginning of
    a path decides.
    """
    routes = json.loads((INFRA / "routes.json").read_text())
    services = f"https://www.googleapis.com/compute/v1/projects/{project}/global/backendServices"
    paths = sorted(routes, key=lambda path: (path.endswith("/"), -len(path), path))
    rules = [
        {
            "priority": priority,
            "service": f"{services}/{backend_of(routes[path])}",
            "matchRules": [{"prefixMatch": path}]
            if path.endswith("/")
            else [{"fullPathMatch": path}, {"fullPathMatch": f"{path}/"}],
        }
        for priority, path in enumerate(paths, start=1)
    ]
    default = f"{services}/{backend_of(OTHERS)}"
    return {
        "name": NAME,
        "defaultService": default,
        "hostRules": [{"hosts": [domain], "pathMatcher": "paths"}],
        "pathMatchers": [{"name": "paths", "defaultService": default, "routeRules": rules}],
    }


if __name__ == "__main__":
    print(json.dumps(url_map(*sys.argv[1:])))
