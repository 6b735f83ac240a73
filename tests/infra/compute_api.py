"""Stands in for the Compute Engine API, whose changes are operations and whose resources know their own addresses."""

from collections.abc import Mapping
from typing import Any

ADDRESS = "203.0.113.7"
"""What the load balancer's address is. https://www.rfc-editor.org/rfc/rfc5737 reserves it for documents."""
FIELD_OF = {"setSecurityPolicy": "securityPolicy", "setSslCertificates": "sslCertificates", "setUrlMap": "urlMap"}
"""{verb of a resource: the field that it changes}"""


class ComputeApi:
    """Keeps resources in `resources`, {"compute/projects/…": resource}, and returns (status, JSON body)."""

    def __init__(self, resources: dict[str, Any], url: str) -> None:
        self._resources = resources
        self._url = url

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        if "/operations/" in path:
            return 200, self._done(path)
        parent, _, verb = path.rpartition("/")
        if verb == "getRule":
            rules = self._resources.get(parent, {}).get("rules", [])
            return next(((200, rule) for rule in rules if str(rule["priority"]) == query["priority"]), _missing(path))
        return (200, self._resources[path]) if path in self._resources else _missing(path)

    def change(self, method: str, path: str, query: Mapping[str, str], body: Any) -> tuple[int, Any]:
        parent, _, last = path.rpartition("/")
        if last == "wait":
            return 200, self._done(path)
        if last in ("addRule", "patchRule"):
            rule, policy = {"priority": int(query.get("priority", 0)), **body}, self._resources[parent]
            others = [made for made in policy.get("rules", []) if made["priority"] != rule["priority"]]
            policy["rules"] = [*others, rule]
        elif last in FIELD_OF:
            self._resources[parent][FIELD_OF[last]] = body[FIELD_OF[last]]
        elif method == "POST":
            return self._create(f"{path}/{body['name']}", body)
        else:
            self._resources[path] = _without_nothing({**self._resources[path], **body})
            return 200, self._done(path)
        return 200, self._done(parent)

    def _create(self, path: str, body: Any) -> tuple[int, Any]:
        if path in self._resources:
            return 409, {"error": {"code": 409, "message": f"{path} exists", "status": "ALREADY_EXISTS"}}
        made = {**body, "selfLink": self._link(path), "fingerprint": "AAAA"}
        self._resources[path] = {**made, "address": ADDRESS} if "/addresses/" in path else made
        return 200, self._done(path)

    def _link(self, path: str) -> str:
        return f"{self._url}compute/v1/{path.removeprefix('compute/')}"

    def _done(self, path: str) -> Any:
        """Returns an operation that has ended, on the resource of the path."""
        target = path.partition("/operations/")[0]
        operation = f"{'/'.join(target.split('/')[:4])}/operations/done"
        links = {"targetLink": self._link(target), "selfLink": self._link(operation)}
        place = {"region": target.split("/")[4]} if "/regions/" in target else {}
        return {"name": "done", "status": "DONE", "operationType": "insert", **links, **place}


def _without_nothing(value: Any) -> Any:
    """Leaves out what a change takes away: fields that are null or empty, in every depth."""
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nothing(item) for name, item in value.items() if item not in (None, [], {}, "")}
    return value


def _missing(path: str) -> tuple[int, Any]:
    return 404, {"error": {"code": 404, "message": f"{path} does not exist", "status": "NOT_FOUND"}}
