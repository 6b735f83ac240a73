"""Sends the requests of the command line (infra/cli.py) to a system, through lost connections and limits."""

import json
import time
from collections.abc import Iterator
from typing import Any

import requests

ENDS = ("run.completed", "run.failed", "run.cancelled")
TIMEOUT_SECONDS = 75.0
MAX_PAUSE_SECONDS = 30.0


class Refused(Exception):
    """The server refused a request; the text is its own sentence."""


class Api:
    """Sends requests to one system, and repeats those that a lost connection or a limit stopped."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}

    def request(self, method: str, path: str, *, key: str | None = None, body: Any = None) -> dict[str, Any]:
        """Returns the JSON of a success. Raises Refused.

        Repeats what changes nothing twice: reads, cancels, and submits with the idempotency key `key`.
        """
        headers = {**self._headers, "Prefer": "respond-async", **({"Idempotency-Key": key} if key else {})}
        pause = 0.5
        while True:
            try:
                response = requests.request(
                    method, self._url + path, headers=headers, json=body, timeout=TIMEOUT_SECONDS
                )
            except requests.ConnectionError as error:
                if pause > MAX_PAUSE_SECONDS:
                    raise Refused(f"{self._url} cannot be reached: {type(error).__name__}") from error
            else:
                answer = _json(response)
                if response.ok:
                    return answer
                if response.status_code not in (429, 503) or "Retry-After" not in response.headers:
                    raise Refused(f"{response.status_code}: {answer.get('error', response.reason)}")
                pause = min(float(response.headers["Retry-After"]), MAX_PAUSE_SECONDS)
            time.sleep(pause)
            pause *= 2

    def updates(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yields the updates of a run until it ends, and goes on after a lost connection where it stopped.

        Yields the states of the run instead, as {type, run}, where no streams arrive (behind Firebase Hosting).
        """
        last = 0
        while True:
            path = f"{self._url}/llm_user_runs/{run_id}/stream?starting_after={last}"
            try:
                with requests.get(path, headers=self._headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
                    if "text/event-stream" not in response.headers.get("Content-Type", ""):
                        break
                    for line in response.iter_lines():
                        if line.startswith(b"data: ") and "sequence" in (update := json.loads(line[6:])):
                            last = update["sequence"]
                            yield update
                            if update["type"] in ENDS:
                                return
            except requests.RequestException:
                time.sleep(1)
        yield from self._states(run_id)

    def _states(self, run_id: str) -> Iterator[dict[str, Any]]:
        while True:
            run = self.request("GET", f"/llm_user_runs/{run_id}")
            yield {"type": f"run.{run['status']}", "run": run, "detail": {}}
            if run["is_complete"]:
                return
            time.sleep(2)


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
