"""Keeps the jobs of the simulated LLM, in memory and in a file that survives a killed process."""

import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO


@dataclass(slots=True)
class Job:
    """`body` is the body of its POST /jobs; `created_at` is a time.time() value."""

    job_id: str
    body: dict[str, Any]
    created_at: float
    cancelled: bool = False
    traceparent: str | None = None
    is_response: bool = False
    """True for a response of OpenAI's, False for a job of the job API or a batch."""

    @property
    def text(self) -> str:
        return str(self.body.get("input_text") or "")


@dataclass(slots=True)
class Jobs:
    """All jobs, in memory and, when there is a `path`, as lines of JSON in that file.

    A line is {key, body, at, action?, traceparent?}: a submit with its idempotency key, time and trace, a submit that
    was answered with 429 (`refused`), a cancel, whose `key` is the job id, or, for the ledger, a call and its refusal.
    """

    path: Path | None = None
    by_key: dict[str, Job] = field(default_factory=dict)
    by_id: dict[str, Job] = field(default_factory=dict)
    submits: Counter[str] = field(default_factory=Counter)
    """How often each idempotency key was submitted."""
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The calls that were not refused, by a key of their own; see Ledger."""
    _file: TextIO | None = None

    def load(self) -> None:
        """Reads the lines of earlier processes and opens the file for more.

        Ignores a line that is cut short: its process was killed while it wrote, before it answered the request.
        """
        if self.path is None:
            return
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    self._apply(**json.loads(line))
                except ValueError:
                    continue
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", buffering=1)
        self._file.write("\n")

    def write(self, **line: Any) -> None:
        """Applies the line and appends it to the file. The file is line-buffered, so a killed process loses no line."""
        self._apply(**line)
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _apply(
        self,
        *,
        key: str,
        body: dict[str, Any] | None,
        at: float,
        action: str = "submit",
        traceparent: str | None = None,
    ) -> None:
        if action == "cancel":
            self.by_id[key].cancelled = True
            return
        if action == "call":
            self.calls[key] = {**(body or {}), "at": at}
            return
        if action == "refused call":
            del self.calls[key]
            return
        self.submits[key] += 1
        if action == "submit" and key not in self.by_key:
            is_response = key.startswith("response-")
            job = Job(sha256(key.encode()).hexdigest()[:32], body or {}, at, False, traceparent, is_response)
            self.by_key[key] = self.by_id[job.job_id] = job
