"""Tries a system from the outside: one run of each family, a stream, a cancel, a listener. Exit code 0 if all hold.

    python infra/smoke.py URL TOKEN [--reads URL] [--model demo-model] [--project PROJECT]

`--reads` is the address of read_runs when the functions have addresses of their own. The listener needs the Firestore
project, and FIRESTORE_EMULATOR_HOST for an emulator. The token is that of a user in the group `users`.
"""

import argparse
import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any
from urllib.parse import urljoin

import requests

TEXT = "Hello world, pay invoice 4711 by Friday."
DEADLINE_SECONDS = 300.0
WAIT_SECONDS = 20
ENDS = ("run.completed", "run.failed", "run.cancelled")
GOOGLE = "https://accounts.google.com"
"""Who issues the tokens of `gcloud auth print-identity-token`."""


class Failed(Exception):
    """A check does not hold; the text says what came instead."""


@dataclass(frozen=True, kw_only=True)
class Smoke:
    """`url` accepts runs, `reads` answers questions about them; both end with a slash."""

    url: str
    reads: str
    token: str
    model: str
    project: str | None

    def checks(self) -> dict[str, Callable[[], str]]:
        """Returns the checks by name; each returns what it saw, or raises Failed."""
        return {
            "health": self.health,
            "refusals": self.refusals,
            "admin run, streamed": self.admin_run,
            "user run, polled": self.user_run,
            "job, with its result": self.job,
            "cancel": self.cancel,
            "Firestore listener": self.listener,
        }

    def health(self) -> str:
        for base in {self.url, self.reads}:
            expect(self._send("GET", base, "health", anonymous=True), 200)
        return "answers without credentials"

    def refusals(self) -> str:
        expect(self._send("POST", self.url, "llm_user_runs", json={"input_text": TEXT}, anonymous=True), 401)
        expect(self._send("POST", self.url, "llm_user_runs", json={"input_text": " "}), 400)
        expect(self._send("GET", self.reads, "llm_user_runs/00000000-0000-4000-8000-000000000000"), 404)
        return "401 without a token, 400 without a text, 404 for an unknown run"

    def admin_run(self) -> str:
        """A front that cannot stream answers with JSON, and names the address of the stream."""
        body = {"text": TEXT, "source_lang": "en", "target_lang": "de"}
        with closing(self._send("POST", self.url, "llm_user_runs_admin", json=body, stream=True)) as answer:
            expect(answer, 200)
            if answer.headers["Content-Type"].startswith("text/event-stream"):
                return f"{to_the_end(answer)}, in the answer to the request"
            path = answer.json()["urls"]["stream"]
        with closing(self._send("GET", self.reads, path, stream=True)) as answer:
            expect(answer, 200)
            return f"{to_the_end(answer)}, at {urljoin(self.reads, path).partition('/llm_user_runs')[0]}"

    def user_run(self) -> str:
        accepted = self._accepted("llm_user_runs", {"input_text": TEXT})
        run = self._until_complete(f"llm_user_runs/{accepted['run_uuid']}")
        if run["status"] != "completed" or not run["result"]["text"]:
            raise Failed(f"the run is {run['status']}: {run['error']}")
        return f"completed in {run['processing_time']} s"

    def job(self) -> str:
        body = {"job_type": "general_llm_request", "model_id": self.model, "input_data": {"full_input": TEXT}}
        job_id = self._accepted("api/llm/jobs/submit/", body)["job_id"]
        self._until_complete(f"api/llm/jobs/{job_id}/status/")
        answer = expect(self._send("GET", self.reads, f"api/llm/jobs/{job_id}/result/"), 200)
        if not answer.json()["result_data"]["success"]:
            raise Failed("the job has no result")
        return f"completed by {answer.json()['model']['name']}"

    def cancel(self) -> str:
        """A fast LLM may be done before the cancel arrives."""
        run_id = self._accepted("llm_user_runs", {"input_text": f"{TEXT} [[slow 60]]"})["run_uuid"]
        cancelled = expect(self._send("POST", self.reads, f"api/llm/jobs/{run_id}/cancel/"), 200).json()["cancelled"]
        status = self._until_complete(f"llm_user_runs/{run_id}")["status"]
        if cancelled != (status == "cancelled"):
            raise Failed(f"the run is {status}")
        return f"the run is {status}"

    def listener(self) -> str:
        if self.project is None:
            return "left out: it needs --project"
        if issuer_of(self.token) == GOOGLE:
            return "left out: Firestore knows users by tokens of Firebase alone"
        run_id, seen, done = self._accepted("llm_user_runs", {"input_text": TEXT})["run_uuid"], [""], Event()

        def on_snapshot(documents: list[Any], *_: object) -> None:
            status = next((str(document.get("status")) for document in documents if document.exists), "")
            seen.append(status)
            if status in ("completed", "failed", "cancelled"):
                done.set()

        watch = firestore_as(self.token, self.project).document(f"llm_runs/{run_id}").on_snapshot(on_snapshot)
        try:
            if not done.wait(DEADLINE_SECONDS) or seen[-1] != "completed":
                raise Failed(f"the listener saw {seen[1:]}")
        finally:
            watch.unsubscribe()
        return f"saw {', '.join(dict.fromkeys(seen[1:]))}"

    def _accepted(self, path: str, body: dict[str, Any]) -> Any:
        return expect(self._send("POST", self.url, path, json=body), 200).json()

    def _until_complete(self, path: str) -> Any:
        ends = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < ends:
            answer = expect(self._send("GET", self.reads, path, headers={"Prefer": f"wait={WAIT_SECONDS}"}), 200)
            if answer.json()["is_complete"]:
                return answer.json()
        raise Failed(f"not complete after {DEADLINE_SECONDS:.0f} s")

    def _send(
        self,
        method: str,
        base: str,
        path: str,
        *,
        anonymous: bool = False,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        credentials = {} if anonymous else {"Authorization": f"Bearer {self.token}"}
        url = urljoin(base, path.lstrip("/") if "://" not in path else path)
        try:
            return requests.request(method, url, headers={**credentials, **(headers or {})}, timeout=70, **options)
        except requests.RequestException as error:
            raise Failed(f"{url} does not answer: {type(error).__name__}") from error


def expect(answer: requests.Response, status: int) -> requests.Response:
    """Returns the answer if it has the status. Raises Failed with the error's sentence otherwise."""
    if answer.status_code == status:
        return answer
    try:
        sentence = answer.json().get("error")
    except (ValueError, AttributeError):
        sentence = None
    request = answer.request
    raise Failed(f"{request.method} {request.path_url} answered {answer.status_code} instead of {status}: {sentence}")


def to_the_end(answer: requests.Response) -> str:
    """Reads a stream to the run's end and returns the types of its events. Raises Failed unless it completes."""
    kinds = []
    for event in events(answer):
        kinds.append(event["type"])
        if event["type"] == "run.completed":
            return ", ".join(kinds)
        if event["type"] in ENDS:
            raise Failed(f"the run ended with {event['type']}: {event['run']['error']}")
    raise Failed(f"the stream broke off after {kinds}")


def events(answer: requests.Response) -> Iterator[Any]:
    for line in answer.iter_lines():
        name, _, value = line.decode().partition(": ")
        if name == "data":
            yield json.loads(value)


def issuer_of(token: str) -> str | None:
    """Returns who says to have issued the token; None when it does not say. The token is not verified."""
    try:
        payload = token.split(".")[1]
        issuer = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["iss"]
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return str(issuer)


def firestore_as(token: str, project: str) -> Any:
    """Returns a Firestore client with the user's token, to which the security rules apply, as in a browser."""
    from google.cloud import firestore
    from google.oauth2.credentials import Credentials

    return firestore.Client(project=project, credentials=Credentials(token))


def main() -> int:
    parser = argparse.ArgumentParser(description="Tries a system from the outside.")
    parser.add_argument("url", help="the address that accepts runs")
    parser.add_argument("token", help="a bearer token of a user in the group `users`")
    parser.add_argument("--reads", help="the address of read_runs, if it is another one")
    parser.add_argument("--model", default="demo-model", help="the model of the job")
    parser.add_argument("--project", help="the Firestore project, for the listener")
    options = parser.parse_args()
    base, reads = (address.rstrip("/") + "/" for address in (options.url, options.reads or options.url))
    smoke = Smoke(url=base, reads=reads, token=options.token, model=options.model, project=options.project)
    return try_all(smoke)


def try_all(smoke: Smoke) -> int:
    """Prints a line for each check and returns the exit code."""
    failures = 0
    for name, check in smoke.checks().items():
        began = time.monotonic()
        try:
            word, sight = "ok", check()
        except Failed as error:
            word, sight, failures = "FAILED", str(error), failures + 1
        print(f"{word:<7}{time.monotonic() - began:6.1f} s  {name}: {sight}", flush=True)
    print("all hold" if not failures else f"{failures} of {len(smoke.checks())} do not hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
