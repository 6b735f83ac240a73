"""Stands in for the Google APIs that infra/gcloud.sh changes: keeps what it is sent, under the API's own paths.

It refuses to make what exists with 409, and to show what does not exist with 404, as Google does. Everything that takes
long at Google is done at once.
"""

import hashlib
import json
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.infra.compute_api import ComputeApi

PROJECT = "demo-deploy"
PROJECT_NUMBER = "123456789012"
VERSION = re.compile(r"^/(v\d\w*(?:beta\d|alpha)?)/")
DEFAULT_FIELDS: dict[str, dict[str, Any]] = {
    "cloudfunctions": {"state": "ACTIVE", "environment": "GEN_2"},
    "redis": {"state": "READY", "host": "10.0.0.3", "port": 6379},
}


class GoogleApis:
    """`resources` is {API and path: resource}, `policies` likewise, `changes` all requests that change something.

    After `fail_after` changes every further one is refused, as when a script is broken off.
    """

    def __init__(self) -> None:
        self.resources: dict[str, Any] = {}
        self.policies: dict[str, Any] = {}
        self.changes: list[str] = []
        self.requests = 0
        """How many requests there were, those that only read included."""
        self.fail_after: int | None = None
        self.payloads: dict[str, str] = {}
        """{version of a secret: its content}"""
        self.url = ""
        """Where the stand-in serves."""
        self._lock = threading.Lock()

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        """Returns the status and the JSON body of the answer."""
        parts = urlsplit(url.replace("/upload/storage", "/storage"))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        api, _, path = parts.path.lstrip("/").partition("/")
        path = unquote(VERSION.sub("", f"/{path}").lstrip("/")).replace("projects/-/", f"projects/{PROJECT}/")
        with self._lock:
            self.requests += 1
            return self._answer(method, f"{api}/{path}", query, body)

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        plain, _, verb = path.partition(":") if re.search(r":[a-zA-Z]+$", path) else (path, "", "")
        if verb in ("getIamPolicy", "setIamPolicy") or plain.endswith("/iam"):
            return self._policy(method, plain.removesuffix("/iam"), verb, body)
        compute = ComputeApi(self.resources, self.url) if path.startswith("compute/") else None
        if method == "GET":
            return compute.get(path, query) if compute else self._get(path)
        if self.fail_after is not None and len(self.changes) >= self.fail_after:
            return 400, {
                "error": {"code": 400, "message": "the script is broken off here", "status": "FAILED_PRECONDITION"}
            }
        self.changes.append(f"{method} {path}")
        if compute:
            return compute.change(method, path, query, body or {})
        if verb == "batchEnable":
            for name in body["serviceIds"]:
                self.resources[f"{plain}/{name}"] = {"name": name, "config": {"name": name}, "state": "ENABLED"}
            return 200, {"name": "operations/done", "done": True}
        if verb == "addVersion":
            number = self._number(f"{plain}/versions")
            name = f"{plain.partition('/')[2]}/versions/{number}"
            self.resources[f"{plain}/versions/{number}"] = {"name": name, "state": "ENABLED"}
            self.payloads[name] = b64decode(body["payload"]["data"]).decode()
            return 200, {"name": name, "state": "ENABLED", "clientSpecifiedPayloadChecksum": True}
        if verb:
            done = {"name": _operation("firestore", plain.partition("/")[2]), "done": True}
            return 200, done if plain.startswith("firestore/") else {}
        return self._change(method, path, query, body or {})

    def _policy(self, method: str, path: str, verb: str, body: Any) -> tuple[int, Any]:
        if method == "GET" or verb == "getIamPolicy":
            return 200, self.policies.get(path, {"etag": "BwA=", "version": 1})
        if self.fail_after is not None and len(self.changes) >= self.fail_after:
            return 400, {
                "error": {"code": 400, "message": "the script is broken off here", "status": "FAILED_PRECONDITION"}
            }
        self.changes.append(f"SET {path}")
        self.policies[path] = body.get("policy", body)
        return 200, self.policies[path]

    def _get(self, path: str) -> tuple[int, Any]:
        if path in self.resources:
            return 200, self.resources[path]
        if re.fullmatch(r"cloudresourcemanager/projects/[\w-]+", path):
            return 200, {
                "projectId": path.rpartition("/")[2],
                "projectNumber": PROJECT_NUMBER,
                "lifecycleState": "ACTIVE",
            }
        if path.endswith("/authString"):
            return 200, {"authString": "a-word"}
        if path.endswith("/runtimes"):
            return 200, {"runtimes": [{"name": "python313", "environment": "GEN_2", "stage": "GA"}]}
        if "/operations/" in path:
            return 200, {"name": path.partition("/")[2], "done": True, "metadata": {"stages": []}, "response": {}}
        kind = path.rpartition("/")[2]
        inside = [
            item
            for key, item in self.resources.items()
            if re.fullmatch(re.escape(path).replace(r"\-", r"[\w-]+") + r"/[^/]+", key)
        ]
        if inside or kind in COLLECTIONS:
            return 200, {COLLECTIONS.get(kind, kind): inside}
        return 404, {"error": {"code": 404, "message": f"{path} does not exist", "status": "NOT_FOUND"}}

    def _change(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        api, _, relative = path.partition("/")
        if method == "POST":
            path, relative = self._created_path(path, query, body)
        if method in ("POST", "PUT") and path in self.resources:
            return 409, {"error": {"code": 409, "message": f"{path} exists", "status": "ALREADY_EXISTS"}}
        before = self.resources.get(path, {}) if method == "PATCH" else {}
        named = body.get("name") if api in ("logging", "storage") else relative
        self.resources[path] = {**DEFAULT_FIELDS.get(api, {}), **before, **_unwrapped(body), "name": named}
        if api == "cloudfunctions":
            place, service = relative.rpartition("/functions/")[0], relative.rpartition("/")[2].replace("_", "-")
            self.resources[path]["serviceConfig"]["service"] = f"{place}/services/{service}"
        if api in ("cloudfunctions", "firestore", "redis", "vpcaccess") and "backupSchedules" not in path:
            metadata = {"index": relative, "field": relative} if api == "firestore" else {}
            done = {"name": _operation(api, relative), "done": True, "metadata": metadata}
            return 200, {**done, "response": self.resources[path]}
        return 200, self.resources[path]

    def _created_path(self, path: str, query: dict[str, str], body: Any) -> tuple[str, str]:
        """Returns the path of the new resource, with its API and without."""
        api = path.partition("/")[0]
        given = next((value for name, value in query.items() if name.endswith("Id") and name != "projectId"), None)
        given = given or body.get("accountId") or body.get("roleId")
        if given and api == "iam" and "accountId" in body:
            project = path.split("/")[2]
            given = f"{given}@{project}.iam.gserviceaccount.com"
            body["email"] = given
        own = str(body.get("name", "")) if not given else ""
        whole = own.startswith("projects/")
        full = f"{api}/{own}" if whole else f"{path}/{given or own or self._number(path)}"
        return full, full.partition("/")[2]

    def _number(self, path: str) -> str:
        return str(sum(key.startswith(f"{path}/") for key in self.resources) + 1)


COLLECTIONS = {
    "services": "services", "databases": "databases", "backupSchedules": "backupSchedules", "indexes": "indexes",
    "fields": "fields", "serviceAccounts": "accounts", "topics": "topics", "queues": "queues", "secrets": "secrets",
    "subscriptions": "subscriptions", "metrics": "metrics", "uptimeCheckConfigs": "uptimeCheckConfigs",
    "notificationChannels": "notificationChannels", "alertPolicies": "alertPolicies", "dashboards": "dashboards",
    "locations": "locations", "o": "items", "operations": "operations", "versions": "versions", "budgets": "budgets",
    "backups": "backups",
}  # fmt: skip
"""{last part of a path: field of the list's answer}"""


def _unwrapped(body: Any) -> Any:
    """Returns the resource in bodies such as {"serviceAccount": {…}, "accountId": …}."""
    for name in ("serviceAccount", "role", "subscription", "release"):
        if isinstance(body.get(name), dict):
            return {**body[name], **({"email": body["email"]} if "email" in body else {})}
    return body


def _operation(api: str, path: str) -> str:
    project = "/".join(path.split("/")[:2])
    place = "databases/(default)" if api == "firestore" else "locations/europe-west1"
    return f"{project}/{place}/operations/done"


def _uploaded(content: bytes, boundary: bytes) -> Any:
    """Returns the resource of an upload of two parts: its JSON, and what Cloud Storage says of the file."""
    parts = [
        part.lstrip(b"\r\n").partition(b"\n\n" if b"\r\n\r\n" not in part[:200] else b"\r\n\r\n")[2]
        for part in content.split(b"--" + boundary)[1:3]
    ]
    data = parts[1].removesuffix(b"\n").removesuffix(b"\r")
    digest = b64encode(hashlib.md5(data).digest()).decode()
    return {**json.loads(parts[0]), "size": str(len(data)), "md5Hash": digest, "generation": "1"}


def _handler(google: GoogleApis) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            if boundary := re.search(
                r"multipart/related;.*boundary=['\"]?([^'\"]+)", self.headers.get("Content-Type", "")
            ):
                body = _uploaded(content, boundary[1].encode())
            else:
                body = json.loads(content) if content else None
            status, answer = google.answer(self.command, self.path, body)
            written = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            """Writes nothing."""

    return Handler


@contextmanager
def serving(google: GoogleApis) -> Iterator[str]:
    """Yields the base URL of the APIs, below which each has a folder of its name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(google))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    google.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield google.url
    finally:
        server.shutdown()
        server.server_close()
